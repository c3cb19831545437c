"""Send an artifact from the store of files: a part at a time through the API, or by a redirect to the store."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, islice

from starlette.responses import RedirectResponse, Response, StreamingResponse

from service.artifacts.byte_ranges import single_range
from service.http.context import Caller
from service.shared.database.tables import StoredFile

REDIRECT_SECONDS = 600.0  # for which a signed address is valid


def from_store(
    caller: Caller, stored: StoredFile, filename: str, headers: Mapping[str, str], *, head: bool
) -> Response:
    """Respond with a stored zip, whole or one range of it.

    Args:
        head: without the content; never redirected, as an address is signed for one method.

    Raises:
        StorageUnavailable, StoredFileGone: before the first byte is sent.
    """
    store = caller.host_files.store
    assert store is not None
    if not head and caller.settings.storage_redirect and (address := store.sign(stored.key, REDIRECT_SECONDS)):
        return RedirectResponse(address, status_code=307, headers={"cache-control": "no-store"})
    tag = f'"{stored.sha256}"'
    asked = single_range(headers.get("range"), stored.size_bytes) if headers.get("if-range", tag) == tag else None
    begin, end = asked or (0, stored.size_bytes)
    sent = {
        "etag": tag,
        "accept-ranges": "bytes",
        "content-length": str(end - begin),
        "content-disposition": f'attachment; filename="{filename}"',
        "content-type": "application/zip",
    }
    if asked is not None:
        sent["content-range"] = f"bytes {begin}-{end - 1}/{stored.size_bytes}"
    status = 200 if asked is None else 206
    if head:
        return Response(status_code=status, headers=sent)
    parts = store.read(stored.key, begin, end)
    first = list(islice(parts, 1))  # now: where the store is away, that is the response's error, not half a body
    return StreamingResponse(chain(first, parts), status, sent)
