// Commands and code that reproduce a job.

// JSON as Python writes it.
function python(value, indent = "") {
  const inner = indent + "    ";
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map((entry) => python(entry, inner)).join(", ")}]`;
  if (typeof value === "object") {
    const lines = Object.entries(value).map(([name, entry]) => `${inner}${JSON.stringify(name)}: ${python(entry, inner)},\n`);
    return lines.length ? `{\n${lines.join("")}${indent}}` : "{}";
  }
  return JSON.stringify(value);
}

export function snippets(job, origin) {
  const spec = JSON.stringify(job.spec, null, 2);
  const curl = `curl -H "Authorization: Bearer $ADAMSS_API_KEY" --json @- ${origin}/jobs <<'JSON'\n${spec}\nJSON`;
  const client = `from service.client import Client

with Client(${JSON.stringify(origin)}) as client:
    job = client.submit(${python(job.spec, "    ")})
    print(client.wait(job["id"])["result"])
    client.download(job["id"], "${job.spec.artifacts?.[0] ?? "lora"}", "out", extract=True)
`;
  return [
    ["curl", curl],
    ["Python", client],
    ["Spec as submitted", spec],
    ["Resolved spec", JSON.stringify(job.resolved.spec, null, 2)],
  ];
}
