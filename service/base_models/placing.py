"""Put a checked model into its place, on this host and in the store, and register it in one transaction."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from service.base_models import repository
from service.http.context import Caller
from service.shared.database.tables import Json
from service.shared.storage.model_folder import place_model, remove_model


def place(
    caller: Caller, model_id: str, name: str, digest: str, facts: Json, register: Callable[[Session], bool]
) -> bool:
    """Place the model of a partial folder with its facts; leave nothing of it unless it is registered.

    Args:
        register: writes the model's row; returns false if it is wanted no more.

    Returns:
        Whether it was registered.
    """
    host_files, is_registered, content = caller.host_files, False, None
    folder = place_model(caller.settings.files, model_id)
    try:
        content = host_files.put(folder, f"models/{model_id}")
        with caller.db.write() as session:
            is_wanted = register(session)
            if is_wanted:
                repository.keep(session, name, digest, facts)
                host_files.record(session, folder, content, f"models/{name}")
        is_registered = is_wanted
    finally:
        if not is_registered:
            remove_model(caller.settings.files, model_id)
            host_files.discard([] if content is None else [content.key])
    return is_registered
