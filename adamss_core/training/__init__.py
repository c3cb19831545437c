"""A whole fine-tune: `adamss_core.training.run.run(RunRequest, Reporter) -> RunResult`.

What is exported here needs no torch; `run` imports it.
"""

from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.request import ArtifactFile, Reporter, RunRequest, RunResult

__all__ = ["ArtifactFile", "Reporter", "RunRequest", "RunResult", "Stopped", "TrainingError"]
