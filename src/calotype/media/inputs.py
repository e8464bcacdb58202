"""Inputs given by callers, as a data URI, a URL or an upload's id, become files in our store before anything runs."""

import asyncio
import re
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from calotype.http import DownloadError, Guard, SpoolSink, download
from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.errors import Code, Problem
from calotype.media import base64_text
from calotype.media.acl import Acls
from calotype.media.artifacts import KeepError, keep_gathered
from calotype.media.base64_text import Encoded
from calotype.media.signing import PATH, Signer
from calotype.media.store import Store
from calotype.media.uploads import Uploads, is_upload_id

_HEAD = re.compile(
    r"data:(?P<type>[\w.+-]{1,64}/[\w.+-]{1,64})?(?P<params>(?:;[\w-]+=[^;,\s]{1,100})*)(?P<b64>;base64)?\Z"
)
MAX_HEAD_CHARS = 512


class StoredInput(Struct, frozen=True):
    """An input in our store; what it is was read from its own bytes. A file of our own media has no new hash."""

    key: str
    content_type: str
    size_bytes: int
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None


class DataUri(Struct, frozen=True):
    """A taken-apart data URI (RFC 2397) whose payload is not decoded yet."""

    content_type: str
    payload: str
    base64: bool

    def decode(self) -> bytes:
        """Return the bytes; raises ValueError."""
        return base64_text.decode(self.payload) if self.base64 else unquote_to_bytes(self.payload)


def parse_data_uri(text: str, *, max_bytes: int, field: str | None = None) -> DataUri:
    """Take a data URI apart; raises Problem(invalid_input or payload_too_large) that names the field."""
    head, comma, _ = text[: MAX_HEAD_CHARS + 1].partition(",")
    match = _HEAD.match(head.lower())
    if not comma or match is None:
        raise Problem(Code.INVALID_INPUT, "Not a data URI; write data:image/png;base64,<text>.", field=field)
    start = len(head) + 1
    is_base64 = match["b64"] is not None
    size = (len(text) - start) * 3 // 4 if is_base64 else len(text) - start
    if size > max_bytes + 2:
        _too_large(max_bytes, field)
    return DataUri(match["type"] or "text/plain", text[start:], is_base64)


class Inputs:
    """Takes inputs into the store, under keys of the job they belong to."""

    def __init__(
        self,
        store: Store,
        guard: Guard,
        uploads: Uploads,
        signer: Signer,
        *,
        max_bytes: int,
        timeout_s: float = 120.0,
        public_url: str | None = None,
        clock: Clock | None = None,
        acls: Acls | None = None,
    ) -> None:
        self._store = store
        self._guard = guard
        self._uploads = uploads
        self._signer = signer
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._public_url = (public_url or "").rstrip("/")
        self._clock = clock or SystemClock()
        self._acls = acls

    def check(self, value: str, field: str | None = None) -> None:
        """Refuse what can be refused without I/O, so that nothing is held for it; raises Problem."""
        if value.startswith("data:"):
            parse_data_uri(value, max_bytes=self._max_bytes, field=field)
        elif not is_upload_id(value) and self._own_token(value) is None:
            self._guard.check_url(value, field)

    async def take(self, value: str, *, org_id: str, key_base: str, field: str | None = None) -> StoredInput:
        """Store what the value stands for; an upload or a URL of our own media is used where it lies.

        Raises Problem that names the field.
        """
        if is_upload_id(value):
            found = await self._uploads.get(value, org_id)
            if found is None:
                raise Problem(Code.INVALID_INPUT, "There is no such upload; it may have expired.", field=field)
            return StoredInput(found.key, found.content_type, found.size_bytes, found.sha256)
        if (token := self._own_token(value)) is not None:
            return await self._own(token, org_id, field)
        if value.startswith("data:"):
            uri = parse_data_uri(value, max_bytes=self._max_bytes, field=field)
            body: bytes | Path | Encoded = Encoded(uri.payload) if uri.base64 else await asyncio.to_thread(uri.decode)
        else:
            body = await self._fetch(value, field)
        return await self._keep(body, key_base, field)

    async def _fetch(self, url: str, field: str | None) -> bytes | Path:
        spool = SpoolSink(self._store.temp_path)
        try:
            async with spool:
                await download(
                    url, to=spool, max_bytes=self._max_bytes, timeout_s=self._timeout_s, guard=self._guard, field=field
                )
        except DownloadError as error:
            if error.reason == "too_large":
                _too_large(self._max_bytes, field)
            raise Problem(
                Code.INVALID_INPUT, f"The input could not be fetched. {error}", field=field, retryable=error.retryable
            ) from None
        except OSError:
            raise Problem(Code.UNAVAILABLE, "The media store could not write.", retry_after_s=5) from None
        return spool.body

    async def _keep(self, body: bytes | Path | Encoded, key_base: str, field: str | None) -> StoredInput:
        try:
            stored, kept = await keep_gathered(body, key_base=key_base, max_bytes=self._max_bytes, store=self._store)
        except KeepError as error:
            if error.reason == "too_large":
                _too_large(self._max_bytes, field)
            if error.reason in ("encoding", "empty"):
                message = "The input is empty." if error.reason == "empty" else "The input is not valid Base64."
                raise Problem(Code.INVALID_INPUT, message, field=field) from None
            raise Problem(Code.UNAVAILABLE, str(error), retry_after_s=5) from None
        facts = kept.facts
        return StoredInput(
            stored.key, facts.content_type, stored.size_bytes, stored.sha256, facts.width, facts.height,
            facts.duration_s,
        )  # fmt: skip

    def _own_token(self, url: str) -> str | None:
        """Return the token when the URL is one of ours: only the signature decides, not the host."""
        at = url.find(PATH + "/")
        if at < 0 or not url.startswith(("http://", "https://", self._public_url or "http://")):
            return None
        token = url[at + len(PATH) + 1 :].partition("/")[0]
        return token if self._signer.read(token) is not None else None

    async def _own(self, token: str, org_id: str, field: str | None) -> StoredInput:
        try:
            grant = self._signer.verify(token, self._clock.now_ms())
        except Problem as problem:
            raise Problem(Code.INVALID_INPUT, problem.message, field=field) from None
        shut = not grant.signed and self._acls is not None and await self._acls.decide(grant.key, org_id) != "allow"
        found = None if shut else await self._store.stat(grant.key)
        if found is None:
            raise Problem(Code.INVALID_INPUT, "The file behind this URL is no longer kept.", field=field)
        return StoredInput(grant.key, grant.content_type, found.size_bytes)


def _too_large(max_bytes: int, field: str | None) -> NoReturn:
    raise Problem(Code.PAYLOAD_TOO_LARGE, f"The input is larger than {max_bytes} bytes.", field=field)
