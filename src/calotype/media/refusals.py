"""What an object storage says when it refuses, in our words: its own texts hold hosts, keys and request ids."""

import re

from calotype.media.store import StoreError, StoreFull

CLOCK = "This machine's clock and that of the object storage differ too much; correct the time of this machine."
_KEYS = "The object storage does not know these credentials: check the access key and its secret."
_REGION = "The bucket is in another region: set its region."
_BUCKET = "There is no such bucket or container, or these credentials may not see it."
_DENIED = "These credentials may not do this: they need to read, write, list and delete objects in this bucket."
_EXPIRED = "The session token for the object storage has expired."
_UNREACHABLE = "The object storage cannot be reached."
_SLOW = "The object storage did not answer in time."
_NONE = "No credentials for the object storage were found, and this machine has none of its own."

SENTENCES: dict[str, str] = {
    "RequestTimeTooSkewed": CLOCK,
    "RequestExpired": CLOCK,
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "AuthenticationFailed": _KEYS,
    "Unauthorized": _KEYS,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "AccessDenied": _DENIED,
    "AuthorizationPermissionMismatch": _DENIED,
    "AuthorizationFailure": _DENIED,
    "NoSuchBucket": _BUCKET,
    "ContainerNotFound": _BUCKET,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "SlowDown": "The object storage is overloaded.",
}
"""Error code of S3, GCS (XML) or Azure → what the operator can do about it."""
FULL = frozenset({
    "QuotaExceeded", "ServiceQuotaExceeded", "InsufficientCapacity", "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded", "AccountQuotaExceeded",
})  # fmt: skip

_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})|\bstatus: (\d{3})")
_OF_STATUS = {"401": _KEYS, "403": _DENIED, "301": _REGION}
_IDENTITY = ("http://169.254.169.254/", "http://metadata.google.internal/", "http://metadata/")
"""Where the client asks for the machine's own credentials when it was given none."""
_OF_WORDS = (
    ("dns error", _UNREACHABLE), ("Connect", _UNREACHABLE), ("TimedOut", _SLOW), ("timed out", _SLOW),
)  # fmt: skip


def explained(error: Exception) -> StoreError:
    """Return the error of the storage client as ours; nothing of its text passes through but a known code."""
    if isinstance(error, StoreError):
        return error
    text = str(error)
    code = _found(_CODE, text)
    status = _found(_STATUS, text)
    if any(address in text for address in _IDENTITY):
        return StoreError(_NONE)
    if code in FULL or status == "507":
        return StoreFull("The object storage is full.")
    if code in SENTENCES:
        return StoreError(SENTENCES[code])
    if status in _OF_STATUS:
        return StoreError(_OF_STATUS[status])
    if status:
        return StoreError(f"The object storage refused with status {status}{f' ({code})' if code else ''}.")
    for words, sentence in _OF_WORDS:
        if words in text:
            return StoreError(sentence)
    return StoreError(f"The object storage failed ({type(error).__name__}).")


def is_missing(error: Exception) -> bool:
    """Say whether the object is missing, and not its whole bucket."""
    return isinstance(error, FileNotFoundError) and SENTENCES.get(_found(_CODE, str(error))) != _BUCKET


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return next((group for group in match.groups() if group), "") if match else ""
