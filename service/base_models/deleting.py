"""Delete an added base model, unless jobs use it."""

from __future__ import annotations

from service.http.context import Caller
from service.shared.added_models import find_added, finished_users, unfinished_users
from service.shared.database.tables import StoredFile, now
from service.shared.errors import Conflict, quoted_names
from service.shared.storage.model_folder import remove_model


def delete_model(caller: Caller, name: str, *, force: bool) -> None:
    """Delete a model of the caller's project; one that is being fetched is fetched no further.

    Args:
        force: delete it also where finished jobs need it to predict.

    Raises:
        NotFound: no such model is here.
        Conflict: it is a folder of the operator's, an unfinished job uses it, or a finished one needs it.
    """
    with caller.db.write() as session:
        added = find_added(session, caller.project_id, name, lock=True)  # a submit locks it as well
        if added is not None:
            if users := unfinished_users(session, caller.project_id, name):
                raise Conflict(
                    f"Unfinished jobs use model '{name}': {quoted_names(users)}. Cancel them or wait for their end.",
                    code="model_in_use",
                )
            users = list(finished_users(session, caller.project_id, name))
            if users and not force:
                raise Conflict(
                    f"Adapters of finished jobs need model '{name}' to predict: {quoted_names(users)}. To delete it "
                    "nevertheless, set force=true (adamss models delete --force).",
                    code="model_needed",
                    param="force",
                )
            added.deleted_at = now()
            place = caller.settings.files.added_model(added.id)
            keys = caller.host_files.forget(session, StoredFile.name == caller.settings.files.relative(place))
    if added is None:
        caller.catalog.show(name)  # raises NotFound, unless the name is the operator's
        raise Conflict(
            f"'{name}' is a folder that the operator put into the models folder. Have it removed there.",
            code="operators_model",
        )
    remove_model(caller.settings.files, added.id)
    caller.host_files.discard(keys)
