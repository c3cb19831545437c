// Signs in and then replaces or loads this page again, so that going back leads to no form that was sent.
const form = document.querySelector("form");
const reason = document.querySelector("[role=status]");
// Without scripts a redirect takes over what stands after # from the form's own address; it is not sent.
form.action = `/signin${location.hash}`;
// So does a sign-in link, if one is followed instead; enter.js reads it. At /signin a link or a key was refused.
if (location.pathname !== "/signin") localStorage.setItem("adamss-asked", JSON.stringify([Date.now(), form.elements.next.value + location.hash]));

function leave() {
  const { value: next } = form.elements.next;
  if (next === location.pathname + location.search) location.reload(); // to the same path, another # alone would load nothing
  else location.replace(next + location.hash);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/signin", {
    method: "POST",
    headers: { accept: "text/html" },
    body: new URLSearchParams(new FormData(form)),
    redirect: "manual",
  }).catch(() => null);
  if (answer?.type === "opaqueredirect") return leave();
  const page = new DOMParser().parseFromString((await answer?.text()) ?? "", "text/html");
  const said = page.querySelector("[role=status]");
  if (!said) return form.submit(); // the browser shows what is wrong
  reason.replaceChildren(...said.childNodes);
  form.elements.key.select();
});
