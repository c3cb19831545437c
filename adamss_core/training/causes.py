"""Name causes of a result that is no better than its baseline, as far as the run's own numbers show any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adamss_core.spec import JobSpec
from adamss_core.spec.measured_rows import FEW_HELD_OUT_ROWS, counted
from adamss_core.spec.tasks import record_of
from adamss_core.spec.tasks.preset import FAR
from adamss_core.training.data import Rows
from adamss_core.training.judgement import Judgement
from adamss_core.training.progress import Progress

FLAT = 0.05  # relative change of a loss that counts as none
FEW_STEPS = 50
FEW_ROWS = 10  # of a class
FEW_HELD_OUT = 100  # below that, Wilson's interval of one half reaches more than 0.1 to each side
MOST = 0.8  # share of the largest class
NAMED = 5  # classes


@dataclass(frozen=True)
class Evidence:
    """The numbers of a run.

    Attributes:
        spec: resolved.
        classes: class -> training rows; empty where nothing is classified.
        rows: that are trained on.
        answers: class -> how often the model answers it; empty where nothing is classified.
        eval_loss: of the published model.
    """

    spec: JobSpec
    progress: Progress
    judgement: Judgement
    classes: Counter[str]
    rows: int
    answers: dict[str, int]
    eval_loss: float | None


Cause = dict[str, str]  # code, and message in words


def find_causes(evidence: Evidence) -> list[Cause]:
    """Return the causes that the numbers show."""
    found = [(code, cause(evidence)) for code, cause in CAUSES.items()]
    return [{"code": code, "message": message} for code, message in found if message is not None]


def count_classes(spec: JobSpec, rows: Rows) -> Counter[str]:
    """Count the rows of each class."""
    record = record_of(spec)
    return Counter(name for cells in rows.cells() for name in record.classes_of(cells))


def count_answers(report: dict[str, Any]) -> dict[str, int]:
    """Read from a report how often each class is answered."""
    return {entry["name"]: entry["predicted"] for entry in report.get("classes") or []}


def flat_loss(evidence: Evidence) -> str | None:
    if (losses := evidence.progress.loss_fell) is None:
        return None
    begin, end = losses
    if end > begin * (1 + FLAT):
        return f"The training loss rose from {begin:.4g} to {end:.4g}."
    if end > begin * (1 - FLAT):
        return f"The training loss hardly changed: from {begin:.4g} to {end:.4g}."
    return None


def learning_rate(evidence: Evidence) -> str | None:
    rate, preset = evidence.spec.training.learning_rate, record_of(evidence.spec).presets[0]
    usual = preset.training.get("learning_rate", type(evidence.spec.training).model_fields["learning_rate"].default)
    if usual / FAR < rate < usual * FAR:
        return None
    side = "low" if rate < usual else "high"
    return f"training.learning_rate is {side}: {rate:g}, against {usual:g} of the preset {preset.name}."


def few_steps(evidence: Evidence) -> str | None:
    steps = evidence.progress.step
    return f"Only {steps} optimizer steps were made." if steps < FEW_STEPS else None


def rare_class(evidence: Evidence) -> str | None:
    rare = [(name, rows) for name, rows in evidence.classes.items() if rows < FEW_ROWS]
    if not rare:
        return None
    rare.sort(key=lambda entry: entry[1])
    shown = ", ".join(f"'{name}' {rows}" for name, rows in rare[:NAMED])
    more = f", and {len(rare) - NAMED} more classes" if len(rare) > NAMED else ""
    return f"Classes with few training rows: {shown}{more}."


def large_class(evidence: Evidence) -> str | None:
    if evidence.judgement.metric != "accuracy" or not evidence.classes:
        return None
    name, rows = evidence.classes.most_common(1)[0]
    share = rows / max(1, evidence.rows)
    return f"'{name}' has {share:.0%} of the training rows." if share >= MOST else None


def one_answer(evidence: Evidence) -> str | None:
    given = [name for name, times in evidence.answers.items() if times]
    if not given and evidence.answers:
        return "The model answers none of the classes."
    return f"The model answers '{given[0]}' each time." if len(given) == 1 < len(evidence.answers) else None


def few_held_out_rows(evidence: Evidence) -> str | None:
    rows = evidence.judgement.rows
    return f"Only {counted(rows)} evaluated, which cannot show a small gain." if rows < FEW_HELD_OUT else None


def learnt_by_heart(evidence: Evidence) -> str | None:
    losses, held_out = evidence.progress.loss_fell, evidence.eval_loss
    if losses is None or held_out is None or losses[1] > losses[0] / 2 or losses[1] > held_out / 2:
        return None
    return f"The training loss fell to {losses[1]:.4g}, but the loss on other rows is {held_out:.4g}."


CAUSES: dict[str, Callable[[Evidence], str | None]] = {
    "flat_loss": flat_loss,
    "learning_rate": learning_rate,
    "few_steps": few_steps,
    "rare_class": rare_class,
    "large_class": large_class,
    "one_answer": one_answer,
    FEW_HELD_OUT_ROWS: few_held_out_rows,
    "learnt_by_heart": learnt_by_heart,
}
