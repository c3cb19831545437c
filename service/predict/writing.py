"""Write the text of a trained model as a stream, with that of its base model after it."""

from __future__ import annotations

from collections.abc import Generator
from threading import Event

from adamss_core.spec import record_of
from service.http.context import Caller
from service.predict.inputs import read_inputs, read_options
from service.predict.schemas import PieceOut, PredictIn
from service.predict.service import BESIDE_BASE, ModelToAsk, find_model, write
from service.predict.text_stream import TextSource, event
from service.registry import service as registry
from service.shared.errors import InvalidRequest


def begin(caller: Caller, job_id: str, payload: PredictIn) -> TextSource:
    """Begin the text of a job's model for one input.

    Raises:
        InvalidRequest: the task writes no text, or there are several inputs; further as `predict`.
    """
    asked = find_model(caller, job_id, payload.checkpoint, BESIDE_BASE)
    _check(asked, payload)
    (cells,), options = read_inputs(asked.spec, payload), read_options(asked.spec, payload)
    writing = {"max_tokens": options.pop("max_new_tokens"), "is_clipped": True, **options}
    cancelled = Event()
    pieces = write(caller, asked, cells, writing, cancelled, with_base=payload.with_base)
    return TextSource(_events(pieces), pieces, cancelled)


def begin_registered(caller: Caller, reference: str, payload: PredictIn) -> TextSource:
    """Begin the text of a registered model, as `begin`.

    Raises:
        NotFound: there is no such model, label or version.
    """
    with caller.db.read() as session:
        job_id = registry.job_of(session, caller, reference)
    return begin(caller, job_id, payload)


def _check(asked: ModelToAsk, payload: PredictIn) -> None:
    if "max_new_tokens" not in record_of(asked.spec).predict_options:
        raise InvalidRequest(
            f"The job's task is {asked.spec.task}, which writes no text: ask POST /jobs/{{id}}/predict.",
            code="writes_no_text",
            param="inputs",
        )
    if len(payload.inputs) > 1:
        raise InvalidRequest("inputs must have one entry: a stream has one text.", code="invalid_input", param="inputs")


def _events(pieces: Generator[dict[str, object]]) -> Generator[bytes]:
    try:
        for piece in pieces:
            shown = PieceOut.model_validate(
                {"of": "trained"} | {name: piece[name] for name in piece if name != "choice"}
            )
            yield event(shown.model_dump(exclude_none=True))
    except InvalidRequest as error:
        error.param = f"inputs[0].{error.param}"
        raise
