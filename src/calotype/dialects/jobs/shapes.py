"""Bodies that many calls share, as types: what they write is what is documented."""

from msgspec import Struct


class JobCreated(Struct, omit_defaults=True):
    """The answer of every call that makes a job."""

    job_id: str
    warnings: tuple[str, ...] = ()


class JobCancelled(Struct):
    """Whether a job was stopped, and why not where it was not."""

    success: bool
    message: str


class FieldError(Struct):
    """What is wrong with one field; `loc` leads to it."""

    type: str
    loc: list[str | int]
    msg: str


class JobsError(Struct):
    """The body of every refusal: a sentence, or the fields that are wrong."""

    detail: str | list[FieldError]
