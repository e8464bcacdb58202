"""Trouble on request: how an emulator misbehaves in one exchange, so that every client's answer to it can be seen."""

import re
from typing import Literal

import msgspec
from msgspec import Struct

Cut = Literal["", "before", "read", "after", "body"]

FOREVER = 1_000_000
_WORD = re.compile(r"@([a-z_]+)(?:=([\w.-]+))?")


class Fault(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What goes wrong, at one stage of the conversation, for the first so many `times`.

    `on` is the stage: `submit`, `status`, `result`, `cancel`, `upload`, `file` or `any`. `latency` seconds pass first.
    `status` answers that error (with `retry_after` seconds where given). `cut` drops the connection: `before` anything
    is read, after the request was `read` and nothing was done, `after` the work was done, or in the middle of the
    answer's `body`. `hang` never answers, `garbage` answers a page of HTML, `huge` fills the answer up to so many
    bytes, `drip` spreads it over so many seconds.
    """

    on: str = "submit"
    times: int = FOREVER
    latency: float = 0.0
    status: int = 0
    retry_after: float | None = None
    cut: Cut = ""
    hang: bool = False
    garbage: bool = False
    huge: int = 0
    drip: float = 0.0

    @property
    def harmless(self) -> bool:
        """Whether nothing goes wrong at all."""
        return self in (Fault(), Fault(on=self.on, times=self.times))


NONE = Fault()
SHORT: dict[str, Fault] = {"expired": Fault(on="file", status=404)}
"""Words that stand for a whole fault: `@expired`, the produced files are gone."""


def words_in(text: str) -> dict[str, str]:
    """Return the `@word` and `@word=value` of a text; a word alone has the value `true`."""
    return {name: value or "true" for name, value in _WORD.findall(text)} if "@" in text else {}


def fault_in(words: dict[str, str]) -> Fault:
    """Return the fault that words ask for; words that are none of a fault's are for the emulator itself.

    Raises:
        ValueError: a value that its word cannot have.

    """
    for name, fault in SHORT.items():
        if name in words:
            return fault
    known = {name: words[name] for name in Fault.__struct_fields__ if name in words}
    return msgspec.convert(known, Fault, strict=False) if known else NONE
