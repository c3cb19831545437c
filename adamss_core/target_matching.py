"""Match users' regular expressions with the names of a model's modules, as a process that may be killed.

`python -m adamss_core.target_matching` reads its order in the current folder and leaves the targets there. Compiling or
matching an expression may take any time, and holds every other thread of a process meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adamss_core.fileio.exchange import read_order, write_answer
from adamss_core.spec import AdamssSpec, ModelFacts, SpecProblem, find_targets


def match_order(order: dict[str, Any]) -> dict[str, Any]:
    """Return names and warnings of an order's targets, or the problem with them.

    Args:
        order: `adamss` and `facts` as JSON values, and `task_type`.
    """
    spec, facts = AdamssSpec.model_validate(order["adamss"]), ModelFacts.model_validate(order["facts"])
    try:
        targets = find_targets(spec, facts, order["task_type"])
    except SpecProblem as problem:
        return {"problem": {"param": problem.param, "message": problem.message, "code": problem.code}}
    return {"names": [module.name for module in targets.modules], "warnings": targets.warnings}


def main() -> None:
    folder = Path.cwd()
    write_answer(folder, match_order(read_order(folder)))


if __name__ == "__main__":
    main()
