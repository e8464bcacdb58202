"""Realtime sessions: frames over a WebSocket, each of them a request with its own price and end (`wire/fal.md §6.3`).

One frame is worked on at a time, in the order in which they came. What comes meanwhile waits, at most `max_buffering`
frames, and the oldest gives way: it was never accepted and costs nothing. A frame that is refused or fails is answered
by `x-fal-error` and the session goes on. Who hangs up is charged for the frame under way, finds it stored, and gets it
by sending the same frame again within a minute.
"""

import asyncio
import time
from collections import deque

import msgspec
import structlog

from calotype.dialects.door import Caller
from calotype.dialects.fal.answers import JSON
from calotype.dialects.fal.asks import asked
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.endpoints import endpoint_id
from calotype.dialects.fal.errors import as_sent, failure_of, media_of, refused
from calotype.dialects.fal.realtime_frames import UNAUTHORIZED, decoded, encoded, error_message, note, result_of
from calotype.dialects.fal.tokens import IN_QUERY, caller_of
from calotype.dialects.fal.ws_socket import BROKEN, GOING_ON, LATER, REFUSED, Socket
from calotype.jobs.intake import Ask, Ticket
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.ids import uuid7
from calotype.kernel.job import JobState

log = structlog.get_logger(__name__)

SUFFIXES = ("/realtime", "/ws")
"""What follows the endpoint id; the second is what Swift's client of old says."""
AUTH_S = 10.0
MOST_WAITING = 60
MOST_BYTES = 16 << 20
"""The largest frame; twice as much may wait."""
LONGEST_S = 3600.0
"""How long a session may last; clients open the next one by themselves."""
MOST_WARNED = 100
"""How many different warnings a session tells."""
SHOWN = frozenset({"image", "audio", "text", "data"})
"""Kinds of output that fit into a frame."""
IDLE = {"type": "x-fal-error", "error": "TIMEOUT", "reason": "no inputs, reconnect when needed!"}


async def realtime(desk: Desk, x: FalExchange, socket: Socket) -> None:
    """Serve one session from its handshake to its end."""
    endpoint = endpoint_id(_without_suffix(x.place.path))
    try:
        async with asyncio.timeout(AUTH_S):
            caller = await caller_of(desk, x, endpoint)
    except TimeoutError:
        await socket.refuse(503, [JSON], b'{"detail":"The key could not be checked in time."}')
        return
    except Problem as problem:
        await _turned_away(x, socket, problem)
        return
    await socket.accept()
    try:
        name = desk.open_session(caller, x)
    except Problem as problem:
        await _refuse(x, socket, problem, LATER)
        return
    try:
        await _serve(desk, x, socket, caller, endpoint)
    finally:
        desk.sessions.release(name)


async def _serve(desk: Desk, x: FalExchange, socket: Socket, caller: Caller, endpoint: str) -> None:
    try:
        card = desk.catalog.find(endpoint)
        if card.output not in SHOWN:
            sentence = f"{card.id} makes a {card.output}, which no frame holds: use the queue."
            raise Problem(Code.INVALID_INPUT, sentence, field="endpoint")
        session = Session(desk, x, socket, caller, endpoint, _most_waiting(x))
    except Problem as problem:
        await _refuse(x, socket, problem, REFUSED)
        return
    await session.run()


class Session:
    """One open session: frames that wait, and the one that is worked on."""

    def __init__(
        self, desk: Desk, x: FalExchange, socket: Socket, caller: Caller, endpoint: str, most_waiting: int
    ) -> None:
        self._desk = desk
        self._x = x
        self._socket = socket
        self._caller = caller
        self._endpoint = endpoint
        self._card = desk.catalog.find(endpoint)
        self._waiting: deque[bytes | str] = deque()
        self._most_waiting = most_waiting
        self._most_bytes = min(desk.door.limits.max_body_bytes, MOST_BYTES)
        self._dropped = 0
        self._news = asyncio.Event()
        self._ident = uuid7()
        self._warned: set[str] = set()

    async def run(self) -> None:
        """Answer frames until nobody sends any more."""
        reader = asyncio.create_task(self._read())
        until_s = time.monotonic() + LONGEST_S
        try:
            while (message := await self._next(until_s)) is not None:
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    await self._socket.tell(note("dropped", frames=dropped))
                await self._answer(message)
        except Exception:
            log.exception("realtime_broke", model=self._card.id)
            await self._socket.tell({"type": "x-fal-error", "error": "INTERNAL_ERROR", "reason": "The server broke."})
            await self._socket.close(BROKEN)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self) -> None:
        """Take frames as they come; the oldest gives way where there are too many."""
        try:
            while (message := await self._socket.receive()) is not None:
                self._waiting.append(message)
                while len(self._waiting) > 1 and (
                    len(self._waiting) > self._most_waiting or sum(map(len, self._waiting)) > 2 * self._most_bytes
                ):
                    self._waiting.popleft()
                    self._dropped += 1
                self._news.set()
        finally:
            self._socket.gone.set()
            self._news.set()

    async def _next(self, until_s: float) -> bytes | str | None:
        """Wait for a frame; None at the session's end, of which an idle caller is told."""
        left_s = max(0.0, min(self._desk.door.limits.realtime_idle_s, until_s - time.monotonic()))
        try:
            async with asyncio.timeout(left_s):
                while not self._socket.gone.is_set() and not self._waiting:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            await self._socket.tell(IDLE)
            await self._socket.close(GOING_ON)
            return None
        return None if self._socket.gone.is_set() else self._waiting.popleft()

    # -- one frame -----------------------------------------------------------------------------------------------------

    async def _answer(self, message: bytes | str) -> None:
        """Make a request of a frame, see it to its end and answer it."""
        x = self._frame()
        try:
            self._caller = await self._desk.door.leave_of(self._caller.key.id)
            ask, named = await self._ask(x, message)
            ticket = await self._desk.engine.accept(ask)
            if ticket.joined and not _shows(view := await self._desk.engine.end_of(ticket)):
                # what it was joined to was only in the memory of a process that is gone
                log.info("realtime_again", job_id=view.id)
                context = msgspec.structs.replace(ask.context, fingerprint=None)
                ticket = await self._desk.engine.accept(msgspec.structs.replace(ask, context=context))
        except Problem as problem:
            media = list(x.card.media_fields) if x.card is not None else []
            await self._fail(x, as_sent(problem, x.names), [x.names.get(name, name) for name in media])
            return
        await self._see(x, ticket, ask, named, binary=isinstance(message, bytes))

    def _frame(self) -> FalExchange:
        """Return the frame as a request of its own, under the rules of the handshake."""
        x = self._x
        scope = {**x.scope, "calotype.request_id": uuid7()}
        frame = FalExchange(scope, x.receive, x.send, x.place, x.bases)
        frame.card = self._card
        return frame

    async def _ask(self, x: FalExchange, message: bytes | str) -> tuple[Ask, str | None]:
        """Read a frame; the second value is the caller's own name for it.

        Raises:
            Problem: any refusal before the engine is asked.

        """
        desk = self._desk
        desk.door.count(self._caller.key, x.scope)
        body = message.encode() if isinstance(message, str) else message
        if len(body) > self._most_bytes:
            raise Problem(Code.PAYLOAD_TOO_LARGE, f"A frame may have {self._most_bytes} bytes.", field="body")
        given = decoded(message, self._card)
        named = given.pop("request_id", None) if "request_id" not in self._card.fields else None
        ask = await asked(desk, x, self._caller, self._endpoint, given, body, at_once=True)
        context = msgspec.structs.replace(ask.context, idempotency_key=None, webhook=None)
        wants = {**ask.wants, "inline": True, "fleeting": True, "session": self._ident}
        return msgspec.structs.replace(ask, context=context, wants=wants), named if isinstance(named, str) else None

    async def _see(self, x: FalExchange, ticket: Ticket, ask: Ask, named: str | None, *, binary: bool) -> None:
        x.job = JobView(ticket.job)
        delivered = False
        try:
            view = await self._ended(ticket)
            if view is None:
                return
            x.job = view
            if view.state is not JobState.SUCCEEDED:
                await self._fail(x, failure_of(view), media_of(view))
                delivered = not self._socket.gone.is_set()
                return
            await self._warn(view.warnings)
            content = binary and not ask.wants.get("sync_mode")
            body = await result_of(self._desk, x, view, content=content)
            body.setdefault("request_id", named or view.id)
            delivered = await self._socket.say(encoded(body, binary=binary))
        except Problem as problem:
            await self._fail(x, problem, [])
        finally:
            self._desk.engine.answered(ticket, delivered=delivered)

    async def _ended(self, ticket: Ticket) -> JobView | None:
        """Wait for the end of a frame; None when the caller hung up before, and then it goes on without us."""
        ending = asyncio.create_task(self._desk.engine.end_of(ticket))
        gone = asyncio.create_task(self._socket.gone.wait())
        try:
            await asyncio.wait((ending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not ending.done():
                self._desk.engine.leave(ticket)
                self._desk.leave_to_end(ending)
        return ending.result() if ending.done() else None

    async def _fail(self, x: FalExchange, problem: Problem, media: list[str]) -> None:
        if problem.code is Code.INVALID_API_KEY:
            await self._socket.tell(UNAUTHORIZED)
            await self._socket.close(REFUSED, "Unauthorized")
            return
        await self._socket.tell(error_message(problem, x.request_id, media))

    async def _warn(self, warnings: tuple[str, ...]) -> None:
        """Tell each warning once a session."""
        fresh = [one for one in warnings if one not in self._warned][: MOST_WARNED - len(self._warned)]
        if fresh:
            self._warned.update(fresh)
            await self._socket.tell(note("warnings", warnings=fresh))


def _shows(view: JobView) -> bool:
    """Say whether a request that a frame was joined to still has what it made."""
    if view.inline or view.artifacts or view.state is not JobState.SUCCEEDED:
        return True
    result = view.job.result
    return result is not None and not result.texts and view.job.data_class is DataClass.GENERAL


def _without_suffix(path: str) -> str:
    return next((path.removesuffix(one) for one in SUFFIXES if path.endswith(one)), path)


def _most_waiting(x: FalExchange) -> int:
    """Read `max_buffering`.

    Raises:
        Problem: `invalid_input` for what is no number from 1 to 60.

    """
    text = x.query.get("max_buffering", str(MOST_WAITING))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MOST_WAITING):
        sentence = f"max_buffering must be a whole number from 1 to {MOST_WAITING}."
        raise Problem(Code.INVALID_INPUT, sentence, field="max_buffering")
    return int(text)


async def _turned_away(x: FalExchange, socket: Socket, problem: Problem) -> None:
    """Refuse the handshake; a wrong token is told inside the session, where clients learn to fetch a new one."""
    if problem.code is Code.INVALID_API_KEY and IN_QUERY in x.query:
        await socket.accept()
        await socket.tell(UNAUTHORIZED)
        await socket.close(REFUSED, "Unauthorized")
        return
    found = refused(problem)
    await socket.refuse(found.status, [JSON, *found.headers], msgspec.json.encode(found.body))


async def _refuse(x: FalExchange, socket: Socket, problem: Problem, code: int) -> None:
    message = error_message(problem, x.request_id, [])
    await socket.tell(message)
    await socket.close(code, message["reason"])
