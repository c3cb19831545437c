"""Print what a dry run answers: the estimate of a job, what was chosen for it, and warnings."""

from __future__ import annotations

from typing import Any

from service.cli.contender_table import contender_line
from service.cli.output import duration, print_fields, size
from service.cli.terminal import put, put_json

MEMORY = ("devices", "sharded", "memory_bytes", "least_memory_bytes", "enough_devices")

CLASSES = 10  # whose rows are shown


def show_estimate(plan: dict[str, Any], as_json: bool) -> None:
    """Print a plan as fields, or as it is."""
    if as_json:
        put_json(plan)
        return
    estimate: dict[str, Any] = dict(plan["estimate"])
    files = estimate.pop("artifact_bytes", None) or {}
    contenders = estimate.pop("comparison", None) or []
    phases = estimate.pop("memory_phases", None) or {}
    counts = estimate.pop("elements", None)
    plain = {name: value for name, value in estimate.items() if name not in MEMORY}
    fields: dict[str, object] = {name.replace("_", " "): _yes_no(value) for name, value in plain.items()}
    fields |= _memory(estimate)
    if (seconds := estimate.get("seconds")) is not None:
        fields |= {"time": duration(seconds)}
    fields.pop("seconds", None)
    if plan.get("cost") is not None:
        fields |= {"cost": f"{plan['cost']:.2f} {plan['currency']}"}
    rows, share = (fields.pop(f"calibration {name}", None) for name in ("rows", "share"))
    fields |= {"calibration": f"{rows} rows, about {share:.1%} of the time of all steps"} if rows else {}
    fields |= {"elements of A and B": elements_line(counts, is_plan=True)} if counts else {}
    fields |= {f"memory while {name}": size(value) for name, value in phases.items() if value is not None}
    fields |= {f"size of {name}": size(value) for name, value in files.items() if value is not None}
    fields |= {f"compared with {one['contender']}": contender_line(one) for one in contenders}
    fields |= {"classes": classes_line(classes)} if (classes := plan.get("classes")) else {}
    fields |= {"test rows": plan["test_rows"]} if plan.get("test_rows") else {}
    fields |= {
        f"rows of {part['dataset']}": f"{part['trained']} in an epoch, of {part['usable']} (weight {part['weight']:g})"
        for part in plan.get("training_sets") or []
    }
    if limit := plan.get("time_limit_seconds"):
        fields |= {"time limit": f"{duration(limit)} of training"}
    if (version := plan.get("spec_version", 1)) > 1:
        fields |= {"needs workers": f"of spec version {version} or later"}
    if chosen := plan.get("budget"):
        fields |= {"budget": chosen}
    if preset := plan.get("preset"):
        filled = ", ".join(f"{path} {value}" for path, value in preset["fields"].items())
        fields |= {f"from the preset {preset['name']}": filled or "nothing: the spec sets all of its fields"}
    if suggested := plan.get("suggested"):
        fields |= {"taken from the data": ", ".join(f"{path} {_value_at(plan['spec'], path)}" for path in suggested)}
    print_fields(fields)
    for warning in plan.get("warnings") or []:
        put(f"warning: {warning}")


def _memory(estimate: dict[str, Any]) -> dict[str, object]:
    """Format the memory of each device, and the devices where they are several or too few."""
    devices, needed = estimate.get("devices", 1), estimate.get("memory_bytes")
    divided = ", each with a part of the base" if estimate.get("sharded") else ""
    fields: dict[str, object] = {"devices": f"{devices}{divided}"} if devices > 1 else {}
    if needed is not None:
        fields["memory of each device" if devices > 1 else "memory"] = size(needed)
    if (least := estimate.get("least_memory_bytes")) is not None:
        fields["memory with one row at a time"] = size(least)
    if (enough := estimate.get("enough_devices")) is not None:
        fields["fewest devices that suffice"] = enough
    return fields


def classes_line(rows: dict[str, int]) -> str:
    """Format the rows of each class, such as `2: neg 20, pos 20`."""
    shown = ", ".join(f"{name} {count:,}" for name, count in list(rows.items())[:CLASSES])
    more = f" and {len(rows) - CLASSES:,} more" if len(rows) > CLASSES else ""
    return f"{len(rows):,}: {shown}{more}"


def elements_line(counts: dict[str, int], *, is_plan: bool) -> str:
    """Format the elements of A and B at the start, at the end and as published; a plan has bounds of the latter."""
    peak, end, published = (counts[name] for name in ("peak", "end", "published"))
    most = "at most " if is_plan and end < peak else ""
    left = f"{most if published < peak else ''}{published:,}"
    return f"{peak:,} at the start, {most}{end:,} at the end, {left} published"


def _value_at(spec: dict[str, Any], path: str) -> Any:
    block, _, name = path.rpartition(".")
    return (spec[block] if block else spec)[name]


def _yes_no(value: Any) -> Any:
    """Spell out a truth value; any other stays as it is."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
