"""Preview of a data set's first rows: as stored, or as a model will see them."""

from __future__ import annotations

import logging
import resource
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError
from starlette.responses import FileResponse

from adamss_core.spec import JobSpec, with_defaults
from adamss_core.spec.cells import image_folder, image_path
from service.datasets.left_out import complete
from service.datasets.schemas import ExamplesOut, PreviewOut
from service.datasets.service import get
from service.http.context import Caller
from service.http.gate.validation import explain
from service.shared.database.tables import Dataset
from service.shared.errors import InvalidRequest, NotFound, Unavailable
from service.shared.processes.ask import ask_model_reader
from service.shared.processes.forkserver import ForkServer
from service.shared.processes.subprocesses import READER_LIMITS, READERS

logger = logging.getLogger(__name__)

MODULE = "adamss_core.training.preview"
SECONDS = 180.0  # a chat template comes with the model and may never end
LIMITS = READER_LIMITS | {resource.RLIMIT_FSIZE: 64 * 2**20}
HEAD_ROWS = 200
IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}  # that uploads are stored as
SHOWN = 5


def first_rows(caller: Caller, dataset_id: str) -> PreviewOut:
    profile = get(caller, dataset_id).profile
    return PreviewOut(id=dataset_id, columns=[column["name"] for column in profile["columns"]], rows=profile["preview"])


def image(caller: Caller, dataset_id: str, name: str) -> FileResponse:
    """Return an image of a data set as it is stored: decoded once at the upload, of a type that browsers show safely.

    Raises:
        NotFound: the data set has no such image.
    """
    get(caller, dataset_id)
    folder = caller.host_files.dataset(dataset_id)[1]
    path = image_path(folder, name)
    kind = IMAGE_TYPES.get(PurePosixPath(name).suffix)
    if path is None or kind is None or not path.is_file():
        raise NotFound(f"Data set {dataset_id} has no image {name[:200]!r}.", code="image_not_found")
    return FileResponse(path, media_type=kind, headers={"cache-control": "private, max-age=86400"})


def first_examples(caller: Caller, dataset_id: str, body: dict[str, Any] | None) -> ExamplesOut:
    """Encode the first rows with a job's tokenizer or image processor.

    Args:
        body: a job spec; name and dataset.train may be missing.

    Raises:
        InvalidRequest: the spec is invalid, or the rows or the model do not fit it.
        Unavailable: the encoding process failed.
    """
    spec = _spec(get(caller, dataset_id), body)
    caller.catalog.facts(spec.base_model, spec.revision)  # raises unless the model is allowed and supported
    folder = caller.catalog.folder(spec.base_model)
    with TemporaryDirectory(prefix="preview-", dir=caller.settings.files.scratch) as work:
        rows = Path(work) / "head.jsonl"
        stored, images = caller.host_files.dataset(dataset_id)
        with stored.open("rb") as source:
            rows.write_bytes(b"".join(islice(source, HEAD_ROWS)))
        if images.is_dir():
            image_folder(rows).symlink_to(images)
        order = {
            "spec": spec.model_dump(mode="json"),
            "rows": str(rows),
            "model": str(folder or spec.base_model),
            "revision": None if folder else spec.revision,
            "count": SHOWN,
        }
        answer = _ask(caller.forkserver, Path(work), order, local=folder is not None)
    return ExamplesOut(id=dataset_id, task=spec.task, **answer)


def _spec(dataset: Dataset, body: dict[str, Any] | None) -> JobSpec:
    given = body or {}
    block = given.get("dataset")
    whole = {"name": "preview", **given, "dataset": {**(block if isinstance(block, dict) else {}), "train": dataset.id}}
    try:
        return with_defaults(complete(JobSpec.model_validate(whole), dataset).spec)
    except ValidationError as error:
        raise explain([{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()], whole) from error


def _ask(forkserver: ForkServer, folder: Path, order: dict[str, Any], *, local: bool) -> dict[str, Any]:
    with READERS.slot():
        reply = ask_model_reader(forkserver, MODULE, order, folder, seconds=SECONDS, offline=local, limits=LIMITS)
    if reply.exit_code is None:
        raise InvalidRequest(
            f"The examples were not ready after {SECONDS:.0f} s. The model's chat template may not terminate.",
            code="preview_timeout",
            param="base_model",
        )
    if reply.answer is None:
        logger.error("preview failed: %s", reply.log)
        raise Unavailable("The preview failed; see the service's log.", code="preview_failed")
    if problem := reply.answer.get("error"):
        message = " ".join(str(problem[part]) for part in ("message", "hint") if problem.get(part))
        where = str(problem.get("where") or "dataset")
        raise InvalidRequest(message, code=str(problem["code"]), param="dataset" if " " in where else where)
    return reply.answer
