"""The parts of the check in their order, with the packages and the time that each may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from benchmarks.gpu_check.machine import METHOD, QUANTISED, TRAINING, missing
from benchmarks.gpu_check.process import Channel, Launcher, Outcome, Part
from benchmarks.gpu_check.sizes import Sizes

MINIMUM = 20.0  # seconds for a part, where so many are left


@dataclass(frozen=True)
class Planned:
    """One part.

    Attributes:
        function: module and name, imported in the part's own process only.
        packages: without these the part is left out.
        share: of the check's time, by which this part must be over together with all before it.
        killed: whether the parent kills it at `RunSizes.kill_at`.
    """

    name: str
    function: str
    packages: tuple[str, ...]
    share: float
    killed: bool = False

    @property
    def part(self) -> Part:
        return partial(call, self.function)


PLAN = (
    Planned("exactness", "exactness:exactness", METHOD, 0.07),
    Planned("encoder steps", "steps:encoder_steps", METHOD, 0.11),
    Planned("killed run", "runs:killed_run", METHOD + TRAINING, 0.05, killed=True),
    Planned("whole run", "runs:whole_run", METHOD + TRAINING, 0.07),
    Planned("out of memory", "runs:out_of_memory", METHOD + TRAINING, 0.06),
    Planned("decoder steps", "steps:decoder_steps", METHOD, 0.18),
    Planned("quantised steps", "steps:quantised_steps", METHOD + QUANTISED, 0.07),
    Planned("quantised runs", "runs:quantised_runs", METHOD + TRAINING + QUANTISED, 0.06),
    Planned("compiled run", "runs:compiled_run", METHOD + TRAINING, 0.12),
    Planned("compiled steps", "steps:compiled_steps", METHOD, 0.21),
)


def run_all(launcher: Launcher, seconds: float, left: Callable[[], float], names: list[str] | None) -> None:
    """Run the parts within `seconds`; time that a part does not need goes to those after it.

    The process of each part starts during the part before it, so that nothing waits for its imports.

    Args:
        left: seconds left of all.
        names: only these parts; None for all.
    """
    runnable = [planned for planned in PLAN if _may_run(planned, launcher.outcome, names)]
    following = launcher.start(runnable[0].name, runnable[0].part) if runnable else None
    for number, planned in enumerate(runnable):
        current, following = following, None
        assert current is not None
        is_ready = launcher.ready(current, left())
        for later in runnable[number + 1 : number + 2]:
            following = launcher.start(later.name, later.part)
        if is_ready:
            ahead = sum(later.share for later in PLAN[PLAN.index(planned) + 1 :])
            # The first parts need not pay for a slow start.
            own = max(left() - ahead * seconds, min(MINIMUM, left()))
            launcher.run(current, own, launcher.sizes.run.kill_at if planned.killed else None)


def _may_run(planned: Planned, outcome: Outcome, names: list[str] | None) -> bool:
    """Whether the part is asked for and has its packages; reports why not."""
    lacking = missing(planned.packages)
    if names is not None and planned.name not in names:
        outcome.left_out.append((planned.name, "not asked for"))
    elif lacking:
        outcome.left_out.append((planned.name, f"not installed: {', '.join(lacking)}"))
    else:
        return True
    return False


def call(function: str, channel: Channel, sizes: Sizes) -> None:
    """Wait for the start signal with the part's module imported, then run the part."""
    module, _, name = function.partition(":")
    part: Part = getattr(import_module(f"benchmarks.gpu_check.{module}"), name)
    channel.wait()
    part(channel, sizes)
