"""Name the contenders that a job trains beside its own adapter: `compare` of the spec."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from adamss_core.spec.adamss import field_error
from adamss_core.spec.facts import LinearModule
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.tasks import record_of

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

OWN = "adamss"  # name of the job's own adapter in the table
HEAD = "head"
MOST_CONTENDERS = 5
# Of the job's own rate. The best rate of LoRA r=1 was 0.4, 0.4 and 0.5 of that of AdaMSS with K=1 on the three tasks of
# docs/quality.md, and 0.2, 0.4 and 0.5 of that with K=10. It holds where alpha is the rank, so that the scale is 1.
LORA_RATE = 0.4
MOST_RATE = 10.0  # as of `training.learning_rate`
_LORA = r"lora:r=([1-9][0-9]{0,3})(?:@([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]{1,2})?))?"
_REMEDY = 'Use "head", "lora:r=1" or another rank, or "lora:r=1@0.004" for a learning rate of your own.'


@dataclass(frozen=True)
class Contender:
    """An adapter that is trained beside the job's own, for comparison only.

    Attributes:
        rank: of a plain LoRA on the job's own targets; None trains the head alone.
        own_rate: learning rate of A and B that the user has chosen.
    """

    rank: int | None = None
    own_rate: float | None = None

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Read "head", "lora:r=N" or "lora:r=N@RATE".

        Raises:
            ValueError: it is none of them; says what is.
        """
        if text == HEAD:
            return cls()
        if (found := re.fullmatch(_LORA, text)) is None:
            raise ValueError(f"is no contender. {_REMEDY}")
        rank, rate = found.groups()
        if rate is not None and not (math.isfinite(float(rate)) and 0 < float(rate) <= MOST_RATE):
            raise ValueError(f"has a learning rate that is not above 0 and at most {MOST_RATE:g}. {_REMEDY}")
        return cls(int(rank), None if rate is None else float(rate))

    @property
    def name(self) -> str:
        """Return its name, equal for equal contenders."""
        if self.rank is None:
            return HEAD
        return f"lora:r={self.rank}" + ("" if self.own_rate is None else f"@{self.own_rate!r}")

    @property
    def slug(self) -> str:
        """Return the name of its folder."""
        return re.sub(r"[^a-z0-9.-]", "-", self.name)

    def learning_rate(self, own: float) -> float | None:
        """Return the peak rate of A and B, where the job's own is `own`; None without A and B."""
        if self.rank is None:
            return None
        return round(LORA_RATE * own, 10) if self.own_rate is None else self.own_rate

    def elements(self, modules: Sequence[LinearModule]) -> int:
        """Return the elements of A and B on these modules."""
        return sum((self.rank or 0) * (module.in_features + module.out_features) for module in modules)


ContenderName = Annotated[
    str,
    Field(max_length=60, json_schema_extra={"pattern": f"^({HEAD}|{_LORA})$", "examples": [HEAD, "lora:r=1"]}),
    AfterValidator(lambda text: Contender.parse(text).name),
]


def contenders_of(spec: JobSpec) -> list[Contender]:
    """Return the contenders of a job, in its order."""
    return [Contender.parse(name) for name in spec.compare]


def check_comparison(spec: JobSpec) -> None:
    """Raise FieldError for contenders that cannot be compared with the job, whatever its task and model are."""
    if len(set(spec.compare)) < len(spec.compare):
        raise field_error("compare", "names a contender twice; name each once")
    if spec.compare and spec.init_from is not None:
        raise field_error(
            "compare",
            "has no effect beside init_from: a contender cannot start from another job's adapter, so it would have "
            "learnt less. Leave one of them out",
        )


def headless(spec: JobSpec) -> SpecProblem | None:
    """Refuse "head" for a task that trains none; the task may follow from the data, so it is no rule of the shape."""
    if HEAD not in spec.compare or record_of(spec).trains_head:
        return None
    return SpecProblem(
        "compare",
        f'compare names "{HEAD}", but {spec.task} trains no head: the untrained base model stands beside the result '
        'already, as before_training. Leave it out, or use "lora:r=1".',
        "no_head",
    )


def check_ranks(spec: JobSpec, modules: Sequence[LinearModule]) -> None:
    """Refuse a LoRA whose rank is above the width of a module that it would adapt.

    Raises:
        SpecProblem: names the module, and the largest rank.
    """
    for place, contender in enumerate(contenders_of(spec)):
        narrow = min(modules, key=_width)
        if contender.rank is not None and contender.rank > _width(narrow):
            raise SpecProblem(
                f"compare[{place}]",
                f"{contender.name} has a rank above {_width(narrow)}, the width of '{narrow.name}': more adds nothing. "
                f"Use a rank of at most {_width(narrow)}.",
                "rank_too_large",
            )


def _width(module: LinearModule) -> int:
    return min(module.in_features, module.out_features)
