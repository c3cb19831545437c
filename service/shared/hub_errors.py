"""Translate errors of the hub's client into refusals with a remedy, in the children that ask the hub."""

from __future__ import annotations

import sys
from typing import Literal

from service.shared.errors import InvalidRequest, ServiceError, Unavailable

UNKNOWN = {"data set": "unknown_hub_dataset", "model": "unknown_hub_model"}


def hub_refusal(
    error: Exception, kind: Literal["data set", "model"], hub_id: str, revision: str
) -> ServiceError | None:
    """Return the refusal for an error of the hub's client; None where the error is not the hub's."""
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if isinstance(error, ServiceError):
        return error
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 503
        if status in (401, 403, 404):
            message = f"The hub has no public {kind} '{hub_id}' at revision '{revision}'."
            return InvalidRequest(message, code=UNKNOWN[kind], param="hub_id")
        return Unavailable(f"The hub answered {status}. Try again later.", code="hub_failed")
    if isinstance(error, HFValidationError):
        return InvalidRequest(f"hub_id is not an id of the hub: {error}.", code="invalid_field", param="hub_id")
    if isinstance(error, OfflineModeIsEnabled | HTTPError | ConnectionError):
        print(repr(error), file=sys.stderr)
        reason = f"The hub cannot be reached. Upload the {'file' if kind == 'data set' else 'folder'} instead, or try "
        return Unavailable(f"{reason}again later.", code="hub_unreachable")
    return None
