"""Storage: how clients ask for an upload, send the file whole or in parts, and read it (`wire/fal.md §7`).

The URL of a file is known before the file is there. It holds a signed ticket, works as an input of later requests,
and lasts as long as the upload.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from calotype.dialects.door import json_object, refuse_encoded, refuse_phi_files, too_large
from calotype.dialects.fal.answers import tell
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.hooks import JWKS
from calotype.dialects.fal.lifecycle import LIFECYCLE, lifecycle
from calotype.dialects.fal.parts import chunks_of
from calotype.dialects.fal.tickets import Ticket
from calotype.dialects.fal.tokens import make_token
from calotype.dialects.json_values import bounded
from calotype.kernel.errors import Code, Problem
from calotype.kernel.ids import new_file_id
from calotype.kernel.steps import NOT_JSON
from calotype.media.uploads import plain_filename

Handler = Callable[[Desk, FalExchange], Awaitable[None]]

TOKEN_S = 900
UPLOAD_S = 6 * 3600
"""How long an upload may take; what it leaves behind unfinished is swept later."""
NAME_HEADER = "x-fal-file-name"
UPLOAD_LIFECYCLE = ("x-fal-object-lifecycle", LIFECYCLE)


class Part(Struct, rename="camel"):
    """One part of a finished upload, as the client lists it."""

    part_number: int
    etag: str


class Completion(Struct):
    """What a client says was uploaded, in any order."""

    parts: list[Part]


_completion = msgspec.json.Decoder(Completion)


async def cdn_token(desk: Desk, x: FalExchange) -> None:
    """Answer a short-lived token for the upload service; `expires_at` has its offset, for clients compare it (§7.3)."""
    caller = await desk.door.enter(x)
    until_s = desk.now_s() + TOKEN_S
    body = {
        "token": desk.tickets.issue(Ticket("cdn", caller.org.id, until_s=until_s)),
        "token_type": "Bearer",
        "base_url": x.bases.cdn,
        "expires_at": datetime.fromtimestamp(until_s, UTC).isoformat(),
    }
    await tell(x, 200, body)


async def initiate(desk: Desk, x: FalExchange) -> None:
    """Answer where a file goes and where it will be read; a file in parts has the same form of answer (§7.1, §7.2)."""
    caller = await desk.door.enter(x)
    refuse_phi_files(x)
    given = json_object(await desk.door.body(x) or b"{}")
    name = given.get("file_name")
    kind = "parts" if x.place.path.endswith("-multipart") else "put"
    ticket = await _ticket(desk, x, caller.org.id, name if isinstance(name, str) else "file", kind)
    upload_url = f"{x.bases.cdn}/upload/{desk.tickets.issue(ticket)}"
    await tell(x, 200, {"file_url": _file_url(desk, x, ticket), "upload_url": upload_url})


async def upload(desk: Desk, x: FalExchange) -> None:
    """Store a whole file sent with a token of the upload service or with a key (§7.3)."""
    ticket = await _ticket(desk, x, await _org_of(desk, x), x.header(NAME_HEADER) or "file", "put")
    await _keep(desk, ticket, body_of(x, desk.uploads.max_bytes))
    await tell(x, 200, {"access_url": _file_url(desk, x, ticket)})


async def begin_parts(desk: Desk, x: FalExchange) -> None:
    """Begin a file that comes in parts (§7.2)."""
    ticket = await _ticket(desk, x, await _org_of(desk, x), x.header(NAME_HEADER) or "file", "parts")
    await tell(x, 200, {"access_url": _file_url(desk, x, ticket), "uploadId": desk.tickets.issue(ticket)})


async def put_file(desk: Desk, x: FalExchange) -> None:
    """Store a file sent to the URL that `initiate` answered; the URL is the permission."""
    ticket = desk.tickets.read(x.rest, "put")
    if ticket is None:
        raise Problem(Code.NOT_FOUND, "This upload URL is not valid, or its time is over.")
    await _keep(desk, ticket, body_of(x, desk.uploads.max_bytes))
    await tell(x, 200, {})


async def put_part(desk: Desk, x: FalExchange) -> None:
    """Keep one part; one client reads the tag from the body, another from the header (§7.2)."""
    ticket, word = _parts_ticket(desk, x)
    number = int(word) if word.isascii() and word.isdigit() and len(word) < 6 else 0
    tag = await desk.parts.put(ticket.org_id, ticket.file_id, number, body_of(x, desk.uploads.max_bytes))
    await tell(x, 200, {"partNumber": number, "etag": f'"{tag}"'}, [(b"etag", f'"{tag}"'.encode())])


async def complete_parts(desk: Desk, x: FalExchange) -> None:
    """Put the parts together; saying so again changes nothing."""
    ticket, _ = _parts_ticket(desk, x)
    if await desk.uploads.get(ticket.file_id, ticket.org_id) is None:
        try:
            listed = _completion.decode(bounded(await desk.door.body(x))).parts
        except NOT_JSON:
            raise Problem(Code.INVALID_INPUT, "parts is a list of partNumber and etag.", field="parts") from None
        tags = {part.part_number: part.etag.strip('"') for part in listed}
        paths = await desk.parts.chosen(ticket.org_id, ticket.file_id, tags)
        await _keep(desk, ticket, chunks_of(paths))
        await desk.parts.drop(ticket.org_id, ticket.file_id)
    await tell(x, 200, {"access_url": _file_url(desk, x, ticket)})


async def read_file(desk: Desk, x: FalExchange) -> None:
    """Serve an uploaded file; its URL needs no key, as on fal (§7.4)."""
    ticket = desk.tickets.read(x.rest, "file")
    found = None if ticket is None else await desk.uploads.get(ticket.file_id, ticket.org_id)
    if found is None:
        raise Problem(Code.NOT_FOUND, "There is no such file.")
    path = desk.media_path(found)
    await desk.media({**x.scope, "path": path, "raw_path": path.encode()}, x.receive, x.send)


async def public_keys(desk: Desk, x: FalExchange) -> None:
    """Answer the keys by which receivers of webhooks know that they are ours (§10)."""
    await tell(x, 200, desk.jwks(), [(b"cache-control", b"public, max-age=3600")])


async def body_of(x: FalExchange, most: int) -> AsyncIterator[bytes]:
    """Yield a body as it comes in, up to `most` bytes.

    Raises:
        Problem: `payload_too_large`, `invalid_input` for a body that breaks off, `unsupported_media_type`.

    """
    refuse_encoded(x)
    announced = x.headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > most:
        raise too_large(most)
    more = True
    while more:
        message = await x.receive()
        if message["type"] == "http.disconnect":
            raise Problem(Code.INVALID_INPUT, "The request ended before its body did.", field="body")
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk


async def _org_of(desk: Desk, x: FalExchange) -> str:
    """Return who uploads: by a token of the upload service, or by a key."""
    refuse_phi_files(x)
    word, _, token = (x.header("authorization") or "").partition(" ")
    ticket = desk.tickets.read(token.strip(), "cdn") if word.lower() == "bearer" else None
    return ticket.org_id if ticket is not None else str((await desk.door.enter(x)).org.id)


async def _ticket(desk: Desk, x: FalExchange, org_id: str, name: str, kind: Any) -> Ticket:
    wanted = await lifecycle(desk, x, org_id, *UPLOAD_LIFECYCLE)
    return Ticket(
        kind, org_id, new_file_id(), plain_filename(name)[:100], desk.now_s() + UPLOAD_S, wanted.lifetime_s,
        wanted.acl.text(),
    )  # fmt: skip


def _parts_ticket(desk: Desk, x: FalExchange) -> tuple[Ticket, str]:
    """Return the ticket of an upload in parts and what follows it in the path."""
    text, _, word = x.rest.partition("/")
    ticket = desk.tickets.read(text, "parts")
    if ticket is None:
        raise Problem(Code.NOT_FOUND, "This upload is not known, or its time is over.")
    return ticket, word


def _file_url(desk: Desk, x: FalExchange, ticket: Ticket) -> str:
    token = desk.tickets.issue(Ticket("file", ticket.org_id, ticket.file_id))
    return f"{x.bases.cdn}/files/{token}/{quote(ticket.name, safe='')}"


async def _keep(desk: Desk, ticket: Ticket, chunks: AsyncIterator[bytes]) -> None:
    """Store a file under the id its URL already has; once it is there it stays as it is."""
    if await desk.uploads.get(ticket.file_id, ticket.org_id) is not None:
        async for _ in chunks:
            pass
        return
    await desk.uploads.create(
        chunks, org_id=ticket.org_id, filename=ticket.name, purpose="input", lifetime_s=ticket.keep_s,
        file_id=ticket.file_id, acl=ticket.acl,
    )  # fmt: skip


REST: dict[tuple[str, str], Handler] = {
    ("GET", JWKS): public_keys,
    ("POST", "/storage/auth/token"): cdn_token,
    ("POST", "/tokens"): make_token,
    ("POST", "/tokens/realtime"): make_token,
    ("POST", "/storage/upload/initiate"): initiate,
    ("POST", "/storage/upload/initiate-multipart"): initiate,
}
_WORD = "(?P<rest>[A-Za-z0-9_-]+)"
CDN: tuple[tuple[str, re.Pattern[str], Handler], ...] = tuple(
    (method, re.compile(pattern + r"\Z"), handler)
    for method, pattern, handler in (
        ("POST", "/files/upload", upload),
        ("POST", "/files/upload/multipart", begin_parts),
        ("PUT", f"/upload/{_WORD}", put_file),
        ("PUT", r"/upload/(?P<rest>[A-Za-z0-9_-]+/[0-9]+)", put_part),
        ("POST", f"/upload/{_WORD}/complete", complete_parts),
        ("PUT", r"/files/[^/]+/[^/]+/multipart/(?P<rest>[A-Za-z0-9_-]+/[0-9]+)", put_part),
        ("POST", f"/files/[^/]+/[^/]+/multipart/{_WORD}/complete", complete_parts),
        ("GET", f"/files/{_WORD}/[^/]+", read_file),
    )
)
"""Method, path in the service, handler; `rest` is what the handler is told of the path."""


def storage_handler(x: FalExchange, method: str) -> Handler | None:
    """Return who answers a request to the storage services, None for a path that is none of theirs."""
    path = x.place.path
    if (exact := REST.get((method, path))) is not None and x.place.service == "rest":
        return exact
    if x.place.service == "cdn":
        for known, pattern, handler in CDN:
            found = pattern.match(path)
            if found is not None and known == method:
                x.rest = found.groupdict().get("rest", "")
                return handler
    return None
