"""What a request asks the emulator to do: words such as `@delay=0.5` in its prompt, so that any client can ask."""

import re
from typing import Literal

from msgspec import Struct

Reset = Literal["", "before", "after"]

_WISH = re.compile(r"@([a-z0-9]+)=([\w.]+)")


class Wishes(Struct, frozen=True):
    """How the upstream behaves for one request.

    `delay` seconds pass before the answer, `work` seconds until a polled job is done. `status` answers an error,
    `reset` drops the connection before or after the job was made, `cut` sends half of the body, `garbage` answers
    what is no JSON. `b64` answers pictures in the body; `n` pictures come, of which the last `lost` cannot be fetched.
    `slowfile` seconds pass before a file is served. `first` limits the trouble to the first so many requests.
    """

    delay: float = 0.0
    work: float = 0.0
    status: int = 200
    reset: Reset = ""
    cut: bool = False
    garbage: bool = False
    b64: bool = False
    n: int = 1
    lost: int = 0
    slowfile: float = 0.0
    fails: str = ""
    first: int = 1_000_000


def wishes_in(prompt: str) -> Wishes:
    """Read the words of a prompt; what is not a wish is left alone."""
    found = dict(_WISH.findall(prompt))
    return Wishes(
        delay=float(found.get("delay", 0)),
        work=float(found.get("work", 0)),
        status=int(found.get("status", 200)),
        reset=_reset(found.get("reset", "")),
        cut="cut" in found,
        garbage="garbage" in found,
        b64="b64" in found,
        n=int(found.get("n", 1)),
        lost=int(found.get("lost", 0)),
        slowfile=float(found.get("slowfile", 0)),
        fails=found.get("fails", ""),
        first=int(found.get("first", 1_000_000)),
    )


def _reset(word: str) -> Reset:
    return "before" if word == "before" else "after" if word == "after" else ""
