"""Server-sent events as an upstream writes them, from bytes in whatever pieces they come."""

import codecs
from collections.abc import AsyncIterator

from calotype.kernel.steps import AnswerTooLarge, ServerEvent

MAX_EVENT_CHARS = 32 * 1024 * 1024
"""One event may carry a picture in base64."""


async def server_events(chunks: AsyncIterator[bytes], name: str) -> AsyncIterator[ServerEvent]:
    """Yield the events of a stream; comments are passed over, an unfinished last event is dropped.

    Raises:
        AnswerTooLarge: one event is longer than 32 MiB.
        MaybeSent: the stream broke off (from `chunks`).

    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    fields = _Fields()
    parts: list[str] = []
    size = 0
    async for chunk in chunks:
        text = decoder.decode(chunk)
        size += len(text)
        if size > MAX_EVENT_CHARS:
            raise AnswerTooLarge(f"{name}: an event is larger than {MAX_EVENT_CHARS} characters")
        parts.append(text)
        if "\n" not in text and "\r" not in text:
            continue
        text = "".join(parts)
        held = "\r" if text.endswith("\r") else ""  # its line feed may still come
        lines = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        parts = [lines.pop() + held]
        for line in lines:
            if line:
                fields.take(line)
            elif (event := fields.flush()) is not None:
                yield event
        size = len(parts[0]) + fields.size
    if "".join(parts) == "\r" and (event := fields.flush()) is not None:
        yield event


class _Fields:
    """The lines of the event that is being read."""

    def __init__(self) -> None:
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None
        self.size = 0

    def take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self.size += len(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def flush(self) -> ServerEvent | None:
        event = ServerEvent("\n".join(self._data), self._event or "message", self._id) if self._data else None
        self._data, self._event, self.size = [], "", 0
        return event
