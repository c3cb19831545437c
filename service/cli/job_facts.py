"""Facts of a job's plan for `adamss jobs show`: task, columns, classes, limit, basis, sizes, biases and subspaces, its
warnings; and where its time went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.cli.estimate import classes_line, elements_line
from service.cli.output import duration
from service.cli.waiting import start

if TYPE_CHECKING:
    from service.client.types import JobJson, JobSummaryJson, PhaseJson


def devices_fact(found: JobSummaryJson) -> str:
    """Format the devices that a job runs or ran on, such as `cuda:0, cuda:1 (h100)`, else the number it asks for."""
    if runs_on := found.get("runs_on"):
        names, kinds = ", ".join(one["name"] for one in runs_on), {one["kind"] for one in runs_on}
        plain = kinds == {runs_on[0]["name"].partition(":")[0]}
        return names if plain else f"{names} ({', '.join(sorted(kinds))})"
    asked = found.get("devices", 1)
    return f"{asked} wanted" if asked > 1 else ""


def plan_facts(found: JobJson) -> dict[str, object]:
    """Return limit, basis, sizes and subspaces of a job, as far as they are known and not the usual."""
    fields: dict[str, object] = dict(_without_training(found)) | _data(found["resolved"].get("spec") or {})
    if classes := found["resolved"].get("classes"):
        fields["classes"] = classes_line(classes)
    if devices := devices_fact(found):
        fields["devices"] = devices
    if (limit := found["resolved"].get("time_limit_seconds")) and found["spec"].get("time_limit_seconds"):
        fields["time limit"] = f"{duration(limit)} of training"
    if basis := _basis(found):
        fields |= {"basis": basis}
    if parameters := _parameters(found):
        fields["parameters at start"] = parameters
    counted = (found["result"] or {}).get("elements")
    if counts := counted or (found["resolved"].get("estimate") or {}).get("elements"):
        fields["elements of A and B"] = elements_line(counts, is_plan=not counted)
    adamss: dict[str, Any] = found["spec"].get("adamss") or {}
    if adamss.get("bias") == "frozen":
        fields["biases"] = "frozen"
    if asa := found["asa"]:
        removed = ", pruned ones are removed" if adamss.get("asa_pruned") == "removed" else ""
        fields["subspaces"] = f"{asa['active']} active of {asa['total']}, target {asa['target']}{removed}"
    return fields


def plan_warnings(found: JobJson) -> list[str]:
    """List the warnings of a job's plan, one line each."""
    return [f"warning: {warning}" for warning in found["resolved"].get("warnings") or []]


def waiting_facts(job: JobJson) -> dict[str, object]:
    """Return place, reasons and expected start of a queued job; empty for all others."""
    version = job.get("spec_version", 1)
    waits = job["status"] == "queued" and version > 1
    fields: dict[str, object] = {"waits for": f"a worker of spec version {version} or later"} if waits else {}
    if (place := job.get("queue")) is not None:
        fields |= {"place": place["place"] or "not counted yet", "waits because": place["reason"]}
        if expected := start(place):
            fields["starts"] = expected
    return fields


def _data(spec: dict[str, Any]) -> dict[str, object]:
    """Return task and columns of a resolved spec."""
    from adamss_core.spec.tasks import all_records

    if "task" not in spec:
        return {}
    kind = spec.get("problem_type")
    fields = {field for record in all_records() for field in record.field_kinds}
    columns = {field: value for field, value in spec["dataset"].items() if field in fields and value is not None}
    named = {field: " + ".join([value] if isinstance(value, str) else value) for field, value in columns.items()}
    return {
        "task": f"{spec['task']} ({kind})" if kind else spec["task"],
        "columns": ", ".join(f"{field}: {names}" for field, names in named.items()),
    }


def _parameters(job: JobJson) -> str | None:
    """Format the trained parameters before pruning: a number, or bounds with the reason until the run has counted."""
    estimate: dict[str, Any] = job["resolved"].get("estimate") or {}
    most, reason = estimate.get("trainable_parameters"), estimate.get("range_reason")
    if most is None:
        return None
    return f"{estimate['least_trainable_parameters']:,} to {most:,}: {reason}" if reason else f"{most:,}"


def _without_training(job: JobJson) -> dict[str, str]:
    """Format what a job does that trains nothing."""
    if evaluated := job.get("evaluates"):
        return {"evaluates": f"the {evaluated['model']} model of {evaluated['job']} on {evaluated['dataset']}"}
    if inspected := job.get("inspects"):
        return {"measures": f"the spectrum of {inspected['model']} on {inspected['dataset']}"}
    return {}


def _basis(job: JobJson) -> str | None:
    """Format basis and share of rows where they are not the weight's and all, with the cost once it is known."""
    adamss: dict[str, Any] = (job["resolved"].get("spec") or {}).get("adamss") or {}
    basis: str = adamss.get("basis", "weights")
    share: float = adamss.get("row_share", 1.0)
    if basis == "weights" and share == 1:
        return None
    found = (job["result"] or {}).get("calibration")
    cost = f", by {found['rows']} training rows in {found['seconds']:.1f} s" if found else ""
    if caught := (found or {}).get("caught"):
        cost += f", catches {caught['median']:.0%} of their energy in the median module"
    return basis + (f", {share:.0%} of the rows" if share < 1 else "") + cost


def phases_line(phases: Sequence[PhaseJson]) -> str:
    """Sum the seconds of each phase over all attempts, such as `waiting 0.2 s, loading 1.4 s, training …`."""
    seconds: dict[str, float] = {}
    for phase in phases:
        seconds[phase["phase"]] = seconds.get(phase["phase"], 0.0) + (phase["seconds"] or 0.0)
    current = phases[-1]["phase"] if phases[-1]["seconds"] is None else None
    return ", ".join(f"{name} {spent:.1f} s{' …' if name == current else ''}" for name, spent in seconds.items())
