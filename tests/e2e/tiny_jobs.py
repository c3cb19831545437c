"""Jobs on a tiny model for workers that run the real core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.adamss_core.training import support as core
from tests.worker.support import DATASET, Service, scaled_settings

ADAMSS = core.job().adamss.model_dump(mode="json", exclude_unset=True)
TRAINING = core.job().training.model_dump(mode="json", exclude_unset=True)


@contextmanager
def real_service(folder: Path) -> Iterator[Service]:
    """Yield a service whose home folder has the model `tiny` and its data."""
    # Loading torch on a busy machine takes longer than the worker tests' lease, and than they wait for a sign of life.
    times = {"lease_seconds": 10.0, "heartbeat_seconds": 1.0, "stall_seconds": 300.0}
    service = Service(scaled_settings(folder / "home", **times), fake=False)
    core.build_model(service.settings.files.model("tiny"))
    core.write_rows(service.settings.files.dataset_rows(DATASET), core.texts(208))
    yield service
    service.db.close()
