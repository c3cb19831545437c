"""Tell how much each field of a sweep's space mattered, by Optuna."""

from __future__ import annotations

from collections.abc import Sequence

from service.shared.database.tables import Sweep
from service.shared.sweeps.trial_table import TrialRow
from service.sweeps.schemas import Dimension
from service.sweeps.space import distribution, plain_value

FEWEST = 4  # trials with a value; of fewer nothing can be said


def importance(sweep: Sweep, rows: Sequence[TrialRow]) -> tuple[dict[str, float] | None, int]:
    """Return the share of each field that all trials choose, largest first, and the number of trials that count.

    None with too few trials, or where all have one value.
    """
    import optuna  # half a second, and only sweeps need it

    counted = [row for row in rows if row.value is not None and row.state in ("complete", "stopped")]
    if len(counted) < FEWEST or len({row.value for row in counted}) == 1:
        return None, len(counted)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize" if sweep.direction == "max" else "minimize")
    space = {path: Dimension.model_validate(wanted) for path, wanted in sweep.request["space"].items()}
    for row in counted:
        params = {path: plain_value(space[path], value) for path, value in row.trial.params.items()}
        distributions = {path: distribution(space[path]) for path in params}
        study.add_trial(optuna.trial.create_trial(value=row.value, params=params, distributions=distributions))
    found = optuna.importance.get_param_importances(study)
    return {path: round(share, 4) for path, share in found.items()}, len(counted)
