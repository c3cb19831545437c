"""Errors of a store of files, in words: the store's own messages name addresses and requests, and no remedy."""

from __future__ import annotations

import re

from service.shared.errors import ServiceError, StartRefused, Unavailable

RETRY_SECONDS = 15
ON_ITS_WAY_SECONDS = 5


class StorageUnavailable(Unavailable):
    """The store does not answer, or refuses for now: another try may succeed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="storage_unavailable", retry_after=RETRY_SECONDS)


class StorageMisconfigured(StorageUnavailable, StartRefused):
    """The store refuses until the operator changes something.

    Attributes:
        problem: what is wrong.
        remedy: what to change.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem, self.remedy = problem, remedy

    def __reduce__(self) -> tuple[type[StorageMisconfigured], tuple[str, str]]:
        return type(self), (self.problem, self.remedy)


class FileOnItsWay(Unavailable):
    """A file of the store is being fetched, which takes longer than a request waits."""

    def __init__(self, owner: str, here: int, size_bytes: int) -> None:
        kind, _, name = owner.partition("/")
        what = f"The base model '{name}'" if kind == "models" else f"A file of {owner}"
        super().__init__(
            f"{what} is being fetched to the service's host: {here / 1e6:,.0f} of {size_bytes / 1e6:,.0f} MB are here. "
            f"Try again in {ON_ITS_WAY_SECONDS} s.",
            code="file_on_its_way",
            retry_after=ON_ITS_WAY_SECONDS,
        )


class StoredFileGone(ServiceError):
    """A row names an object that the store does not have."""

    status, type = 503, "unavailable"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The store of files lacks {key}, which the database names. Restore it, or delete what it belongs to.",
            code="stored_file_gone",
        )


class StoredFileDamaged(ServiceError):
    """An object is not what was put."""

    status, type = 503, "unavailable"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The store's copy of {key} is damaged: its sha256 differs from the one in the database. Restore it.",
            code="stored_file_damaged",
        )


# Found in the store's answer -> problem, remedy. The first one that is found counts.
_REFUSALS = (
    (
        ("RequestTimeTooSkewed", "TimeTooSkewed"),
        "the clocks of this machine and of the store differ",
        "Set this machine's clock, for example with chrony or systemd-timesyncd.",
    ),
    (
        ("ExpiredToken", "TokenRefreshRequired"),
        "the credentials have expired",
        "Renew them, and restart the service where they stand in its environment.",
    ),
    (
        ("169.254.169.254", "metadata.google", "MissingCredential", "metadata endpoint"),
        "no credentials are set",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (s3), GOOGLE_APPLICATION_CREDENTIALS (gs) or "
        "AZURE_STORAGE_ACCOUNT_KEY (az), or give this machine a role.",
    ),
    (
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthenticationFailed"),
        "the store does not know the credentials",
        "Check the key and the secret in the service's environment.",
    ),
    (
        ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"),
        "the bucket does not exist",
        "Create it, or correct ADAMSS_STORAGE_URL.",
    ),
)
_DENIED = ("AccessDenied", "403 Forbidden", "401 Unauthorized", "Permission denied", "os error 13")
_FAILURE = re.compile(r"status code: (5\d\d(?: [A-Z][a-z]+)*)")
_FULL = ("QuotaExceeded", "StorageFull", "InsufficientStorage", "507 ", "No space left", "os error 28")


def translated(error: Exception, url: str) -> StorageUnavailable:
    """Describe a failure of a store in words, without its requests and addresses."""
    text = str(error)
    where = f"The store of files {url} cannot be used"
    for marks, problem, remedy in _REFUSALS:
        if any(mark in text for mark in marks):
            return StorageMisconfigured(f"{where}: {problem}.", remedy)
    if any(mark in text for mark in _FULL):
        return StorageUnavailable(f"The store of files {url} is full. Make room, or raise its quota.")
    if any(mark in text for mark in _DENIED):
        remedy = "Give the service's credentials the rights to list, read, write and delete in it."
        return StorageMisconfigured(f"{where}: the credentials lack a right.", remedy)
    if (failure := _FAILURE.search(text)) is not None:
        own = f"The store of files {url} fails with {failure[1]}, of which its own log may say more."
        return StorageUnavailable(f"{own} It is tried again by itself.")
    return StorageUnavailable(f"The store of files {url} does not answer. It is tried again by itself.")
