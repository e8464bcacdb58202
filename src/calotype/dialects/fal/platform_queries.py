"""What queries of the Platform API say: lists, bounds, cursors and spans of time (`wire/products.md E4`)."""

import base64
import binascii
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Struct

from calotype.catalog import Catalog
from calotype.dialects.door import parameters_of
from calotype.dialects.fal.desk import FalExchange
from calotype.dialects.json_values import bounded
from calotype.kernel.errors import Code, Problem

NUL = "\0"
"""PostgreSQL's texts cannot hold it."""
MOST_NAMED = 50
MOST_BUCKETS = 5000
DAY_MS = 86_400_000
QUARTER_MS = 900_000
MOST_DAYS = 1100
FRAMES: dict[str, int] = {
    "minute": 60_000, "hour": 3_600_000, "day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS,
}  # fmt: skip
"""Time frames and how long about each is, in milliseconds."""
AUTOMATIC = ((7_200_000, "minute"), (2 * DAY_MS, "hour"), (64 * DAY_MS, "day"), (183 * DAY_MS, "week"))
"""The frame of a span that is shorter than this; a longer one is told in months."""


class Query:
    """The parameters of a request; lists come repeated, with `[]`, or with commas between.

    Raises:
        Problem: `invalid_input` for what no text of a database can hold, `payload_too_large` for very many.

    """

    def __init__(self, x: FalExchange) -> None:
        self._pairs = parameters_of(x.scope["query_string"])
        if (odd := next((name for name, value in self._pairs if NUL in value), None)) is not None:
            raise wrong(odd[:100], "holds a character that is none.")

    def text(self, name: str) -> str | None:
        """Return a parameter; the last of several."""
        return next((value for key, value in reversed(self._pairs) if key == name), None)

    def many(self, name: str) -> tuple[str, ...] | None:
        """Return a list of up to 50 different values, None where there is none.

        Raises:
            Problem: `invalid_input`.

        """
        values = [part.strip() for key, text in self._pairs if key in (name, f"{name}[]") for part in text.split(",")]
        found = tuple(dict.fromkeys(value for value in values if value))
        if len(found) > MOST_NAMED:
            raise wrong(name, f"takes at most {MOST_NAMED} values.")
        return found or None

    def choice(self, name: str, known: tuple[str, ...], default: str | None = None) -> str | None:
        """Return one of the words that a parameter takes.

        Raises:
            Problem: `invalid_input` naming them.

        """
        value = self.text(name) or default
        if value is not None and value not in known:
            raise wrong(name, f"must be one of {', '.join(known)}.")
        return value

    def expand(self, *known: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return what `expand` asks for.

        Raises:
            Problem: `invalid_input` for a word that this route does not know.

        """
        found = self.many("expand") or default
        if unknown := [word for word in found if word not in known]:
            raise wrong("expand", f"does not know {unknown[0][:40]!r}; it takes {', '.join(known) or 'nothing'} here.")
        return found

    def limit(self, default: int, most: int) -> int:
        """Return how many items a page has.

        Raises:
            Problem: `invalid_input`.

        """
        text = self.text("limit")
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 8 and 1 <= int(text) <= most):
            raise wrong("limit", f"must be a whole number from 1 to {most}.")
        return int(text)

    def models(self, catalog: Catalog, *, required: bool = False) -> tuple[str, ...] | None:
        """Return the ids of the models that `endpoint_id` names, by id or alias; one that is not known stays as it is.

        Raises:
            Problem: `invalid_input` where none is named and one must be.

        """
        named = self.many("endpoint_id")
        if named is None:
            if required:
                raise wrong("endpoint_id", "is needed: 1 to 50 model ids.")
            return None
        return tuple(dict.fromkeys(card.id if (card := catalog.get(name)) is not None else name for name in named))

    def cursor(self, *kinds: type) -> list[Any] | None:
        """Return what `seal` put into a cursor.

        Raises:
            Problem: `invalid_input` for a cursor that was not made here.

        """
        text = self.text("cursor")
        if not text:
            return None
        try:
            found = msgspec.json.decode(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        except (ValueError, binascii.Error, msgspec.MsgspecError):
            found = None
        fits = isinstance(found, list) and len(found) == len(kinds)
        if not fits or any(type(value) is not kind for value, kind in zip(found, kinds, strict=True)):
            raise wrong("cursor", "is not one that an earlier page answered.")
        if any(NUL in value if isinstance(value, str) else not 0 <= value < 2**62 for value in found):
            raise wrong("cursor", "is not one that an earlier page answered.")
        return list(found)

    def moment(self, name: str, zone: tzinfo) -> int | None:
        """Return an ISO date or time in Unix milliseconds; one without an offset is meant in `zone`.

        Raises:
            Problem: `invalid_input`.

        """
        text = self.text(name)
        if text is None:
            return None
        try:
            when = datetime.fromisoformat(text.replace(" ", "+"))
            when = when if when.tzinfo is not None else when.replace(tzinfo=zone)
            found = int(when.timestamp() * 1000)
        except (ValueError, OverflowError):
            found = -1
        if not 0 <= found < 2**45:
            raise wrong(name, "must be an ISO date such as 2026-11-20 or 2026-11-20T12:00:00Z.")
        return found


class Period(Struct, frozen=True):
    """A span of time in frames of a zone; `end_ms` is exclusive."""

    start_ms: int
    end_ms: int
    frame: str
    zone: tzinfo

    @property
    def grain_ms(self) -> int:
        """The grain of time in which sums are asked for, so that they can be folded into frames."""
        if self.frame == "minute":
            return FRAMES["minute"]
        if self.zone is not UTC:
            return QUARTER_MS
        return FRAMES["hour"] if self.frame == "hour" else DAY_MS

    def bucket(self, at_ms: int) -> int:
        """Return the beginning of the frame a moment is in."""
        return _floor(at_ms, self.frame, self.zone)


def period(query: Query, now_ms: int) -> Period:
    """Read `start`, `end`, `timezone`, `timeframe` and `bound_to_timeframe`; the last 24 hours by default.

    Raises:
        Problem: `invalid_input`, also for a span with more than 5000 frames.

    """
    zone = _zone(query.text("timezone"))
    start_ms, end_ms = window(query, now_ms, zone=zone)
    length_ms = end_ms - start_ms
    frame = query.choice("timeframe", tuple(FRAMES)) or next(
        (name for below, name in AUTOMATIC if length_ms < below), "month"
    )
    if query.choice("bound_to_timeframe", ("true", "false"), "true") == "true":
        start_ms = _floor(start_ms, frame, zone)
        end_ms = _ceiling(end_ms, frame, zone)
    if (end_ms - start_ms) // FRAMES[frame] > MOST_BUCKETS:
        raise wrong("timeframe", f"{frame} is too fine for this span: at most {MOST_BUCKETS} of them are answered.")
    return Period(start_ms, end_ms, frame, zone)


def window(
    query: Query, now_ms: int, *, zone: tzinfo = UTC, usual_ms: int = DAY_MS, most_days: int = MOST_DAYS
) -> tuple[int, int]:
    """Read `start` and `end`.

    Raises:
        Problem: `invalid_input` for a span that is empty or too long.

    """
    end_ms = query.moment("end", zone)
    end_ms = now_ms + 1 if end_ms is None else end_ms
    start_ms = query.moment("start", zone)
    start_ms = end_ms - usual_ms if start_ms is None else start_ms
    if start_ms >= end_ms:
        raise wrong("start", "must be before end.")
    if end_ms - start_ms > most_days * DAY_MS:
        raise wrong("start", f"must be at most {most_days} days before end.")
    return max(0, start_ms), end_ms


def seal(*values: Any) -> str:
    """Return a cursor."""
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).rstrip(b"=").decode()


def page(name: str, items: list[Any], cursor: str | None) -> dict[str, Any]:
    """Write a page of a list."""
    return {"next_cursor": cursor, "has_more": cursor is not None, name: items}


def iso(at_ms: int) -> str:
    """Write a moment in UTC."""
    when = datetime.fromtimestamp(at_ms / 1000, UTC)
    return when.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds").replace("+00:00", "Z")


def usd_number(micro: int) -> float:
    """Write micro-USD as the number of USD that this API answers."""
    return micro / 1_000_000


def wrong(field: str, words: str) -> Problem:
    """Return the refusal of a parameter."""
    return Problem(Code.INVALID_INPUT, f"{field} {words}", field=field)


def body_as(body: bytes, kind: Any) -> Any:
    """Read a JSON body.

    Raises:
        Problem: `invalid_input` that says where the body does not fit.

    """
    try:
        return msgspec.json.decode(bounded(body), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(Code.INVALID_INPUT, f"The body does not fit: {str(error)[:200]}.", field="body") from None


def _zone(name: str | None) -> tzinfo:
    if name in (None, "", "UTC", "Etc/UTC"):
        return UTC
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong("timezone", "must be the name of a time zone such as UTC or Europe/Zurich.") from None


def _floor(at_ms: int, frame: str, zone: tzinfo) -> int:
    if frame == "minute" or (zone is UTC and frame in ("hour", "day")):
        return at_ms - at_ms % FRAMES[frame]
    when = datetime.fromtimestamp(at_ms // 1000, zone)
    if frame == "hour":
        return int(when.replace(minute=0, second=0).timestamp()) * 1000
    when = when.replace(hour=0, minute=0, second=0)
    if frame == "week":
        when = (when.replace(tzinfo=None) - timedelta(days=when.weekday())).replace(tzinfo=zone)
    if frame == "month":
        when = when.replace(day=1)
    return int(when.timestamp()) * 1000


def _ceiling(at_ms: int, frame: str, zone: tzinfo) -> int:
    floor = _floor(at_ms, frame, zone)
    if floor == at_ms:
        return at_ms
    longest = {"month": 32 * DAY_MS, "week": 7 * DAY_MS + 7_200_000, "day": DAY_MS + 7_200_000}
    return _floor(floor + longest.get(frame, FRAMES[frame]), frame, zone)
