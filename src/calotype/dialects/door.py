"""How any dialect lets a request in: who calls, under which rules, with which body, and how the answer went out."""

import hashlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from calotype.accounts import Accounts
from calotype.accounts.types import KeyRecord, Organisation
from calotype.dialects.header_values import choice, tags_of, text
from calotype.dialects.json_values import bounded
from calotype.http import Guard
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, DataClass, KeyClass, Region, Tier, WebhookTarget
from calotype.limits import Gcra
from calotype.settings import LimitSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = dict[bytes, bytes]

MOST_PARAMETERS = 1000
_decode = msgspec.json.Decoder().decode


class Exchange:
    """One request and the way to answer it; `rest` is the path below the route that matched."""

    __slots__ = ("headers", "receive", "rest", "scope", "send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.headers: RawHeaders = dict(scope["headers"])
        self.receive = receive
        self.send = send
        self.rest = ""

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; the last of several with one name."""
        return dict(parameters_of(self.scope["query_string"]))

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole answer; False when the caller had hung up before."""
        length = (b"content-length", str(len(body)).encode())
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        gone = is_gone(self.receive)  # not before: to receive is to ask for a body that waits for 100 Continue
        await self.send({"type": "http.response.body", "body": body})
        return not gone


class Caller(Struct, frozen=True):
    """A verified key and its organisation."""

    key: KeyRecord
    org: Organisation


class Standing(Struct, frozen=True):
    """How a caller stands with its rate: requests a minute, how many may come now, when the whole burst may again."""

    limit: int
    remaining: int
    reset_at_s: int


class Door:
    """Verifies keys, shapes rates and reads the headers every dialect honours (the surface contract, §4 to §6)."""

    def __init__(
        self,
        accounts: Accounts,
        limits: LimitSettings,
        guard: Guard,
        fingerprint_secret: bytes,
        gcra: Gcra | None = None,
    ) -> None:
        self._accounts = accounts
        self.limits = limits
        self._guard = guard
        self._secret = hashlib.sha256(fingerprint_secret).digest()
        self._gcra = gcra or Gcra()

    async def enter(self, x: Exchange, *, counted: bool = True) -> Caller:
        """Verify the key of a request and take one from its rate.

        `counted` is off for polls, which are never refused for their number.

        Raises:
            Problem: `invalid_api_key` or `rate_limited`.

        """
        token = _token(x.headers)
        key = self._accounts.lookup(token)
        if key is None:
            key = await self._accounts.authenticate(token)
        if counted:
            self.count(key, x.scope)
        return Caller(key, self._accounts.organisation(key.org_id))

    async def reader(self, scope: Scope) -> str | None:
        """Return the organisation whose key a request carries, None for a request with no good one."""
        try:
            token = _token(dict(scope["headers"]))
            return str((self._accounts.lookup(token) or await self._accounts.authenticate(token)).org_id)
        except Problem:
            return None

    async def leave_of(self, key_id: str) -> Caller:
        """Return the caller that a token of ours stands for; the key behind it must still be good.

        Raises:
            Problem: `invalid_api_key`.

        """
        key = await self._accounts.key(key_id)
        return Caller(key, self._accounts.organisation(key.org_id))

    def count(self, key: KeyRecord, scope: Scope, usual: int | None = None) -> None:
        """Take one request from the rate of a key; `usual` is the dialect's own where nobody set any.

        Raises:
            Problem: `rate_limited`.

        """
        rate, burst = self._rate(key, usual)
        if rate is not None:
            self.take(counted_as(key, scope), rate, burst, "This key may send")

    def standing(self, key: KeyRecord, scope: Scope, usual: int) -> Standing:
        """Return how a key stands; nothing is taken."""
        rate, burst = self._rate(key, usual)
        return self.standing_of(counted_as(key, scope), rate or usual, burst)

    def take(self, name: str, rate: int, burst: int, whose: str) -> None:
        """Take one request from a rate by name; `whose` begins the sentence that refuses it.

        Raises:
            Problem: `rate_limited`.

        """
        wait_s = self._gcra.take(name, rate, burst)
        if wait_s is not None:
            raise Problem(
                Code.RATE_LIMITED,
                f"{whose} {rate} requests a minute; try again in {wait_s:.1f} s.",
                retry_after_s=wait_s,
                data={"requests_per_minute": rate},
            )

    def standing_of(self, name: str, rate: int, burst: int) -> Standing:
        """Return how a rate by name stands; nothing is taken."""
        remaining, full_in_s = self._gcra.left(name, rate, burst)
        return Standing(rate, remaining, int(time.time() + full_in_s + 0.999))

    def _rate(self, key: KeyRecord, usual: int | None) -> tuple[int | None, int]:
        """Return requests a minute and how many may come at once: all of them where only the dialect set a rate."""
        rate = key.requests_per_minute or self.limits.requests_per_minute
        if key.key_class is KeyClass.TEST:
            rate = rate or self.limits.test_requests_per_minute
        return (usual, usual or 1) if rate is None else (rate, max(1, rate // 6))

    def context(self, caller: Caller, x: Exchange, dialect: str, body: bytes) -> Context:
        """Read the rules a request names in its headers.

        Raises:
            Problem: `invalid_input` naming the header and what it takes.

        """
        get = x.headers.get
        region, tier, explicit = Region.WORLD, None, False
        data_class = data_class_of(x)
        if (raw := get(b"x-region")) is not None:
            _agreeing("X-Region", x)
            region, explicit = choice("X-Region", raw, _REGIONS), True
        if (raw := get(b"x-model-tier")) is not None:
            tier = choice("X-Model-Tier", raw, _TIERS)
        idempotency_key = None
        if (raw := get(b"idempotency-key")) is not None:
            if not 1 <= len(raw.strip()) <= 255:
                raise Problem(
                    Code.INVALID_INPUT, "An Idempotency-Key has 1 to 255 characters.", field="Idempotency-Key"
                )
            idempotency_key = hashlib.blake2b(raw.strip(), key=self._secret, digest_size=20).hexdigest()
        webhook = None
        if (raw := get(b"x-webhook-url")) is not None:
            webhook = self.webhook(raw.decode("latin-1"), "X-Webhook-Url")
        retry = get(b"x-stainless-retry-count", b"0").strip(b"0").isdigit()
        return Context(
            principal=caller.key.principal,
            dialect=dialect,
            data_class=data_class,
            region=region,
            region_explicit=explicit,
            tier=tier,
            idempotency_key=idempotency_key,
            fingerprint=self._fingerprint(caller.key.id, x.scope, body),
            retry=retry,
            webhook=webhook,
            customer=text(get(b"x-calotype-customer")),
            tags=tags_of(get(b"x-calotype-tags")),
            request_id=x.scope.get("calotype.request_id", ""),
        )

    def webhook(self, url: str, field: str) -> WebhookTarget:
        """Check a webhook's address; private ones are refused unless the operator allowed them.

        Raises:
            Problem: `invalid_input` naming the field.

        """
        self._guard.check_url(url, field)
        return WebhookTarget(url)

    def _fingerprint(self, key_id: str, scope: Scope, body: bytes) -> str:
        """Return a keyed hash of key, method, path and body; nothing of them can be read from it."""
        state = hashlib.blake2b(key=self._secret, digest_size=20)
        state.update(f"{key_id}\n{scope['method']}\n{scope['path']}\n".encode())
        state.update(body)
        return state.hexdigest()

    async def body(self, x: Exchange) -> bytes:
        """Read a body whole, up to `limits.max_body_bytes`.

        Raises:
            Problem: `payload_too_large`, before the body is read where its length is announced.

        """
        refuse_encoded(x)
        most = self.limits.max_body_bytes
        announced = x.headers.get(b"content-length")
        if announced is not None and announced.isdigit() and int(announced) > most:
            raise too_large(most)
        message = await x.receive()
        body: bytes = message.get("body", b"")
        size = len(body)
        if size > most:
            raise too_large(most)
        if not message.get("more_body", False):
            return body
        chunks = [body]
        while message.get("more_body", False):
            message = await x.receive()
            if message["type"] == "http.disconnect":
                raise Problem(Code.INVALID_INPUT, "The request ended before its body did.")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > most:
                raise too_large(most)
            chunks.append(chunk)
        return b"".join(chunks)


def counted_as(key: KeyRecord, scope: Scope) -> str:
    """Return under which name a key's use is counted: many share a test key, each from an address of its own."""
    if key.key_class is not KeyClass.TEST:
        return key.id
    client = scope.get("client")
    return f"{key.id}@{client[0] if client else ''}"


def data_class_of(x: Exchange) -> DataClass:
    """Read `X-PHI`.

    Raises:
        Problem: `invalid_input` for any other value, and for two that disagree.

    """
    raw = x.headers.get(b"x-phi")
    if raw is None:
        return DataClass.GENERAL
    _agreeing("X-PHI", x)
    found: DataClass = choice("X-PHI", raw, {"true": DataClass.PHI, "false": DataClass.GENERAL})
    return found


def refuse_phi_files(x: Exchange) -> None:
    """Refuse files of a PHI request before they are read, for what is read is kept on disk.

    Raises:
        Problem: `phi_blocked`.

    """
    if data_class_of(x) is DataClass.PHI:
        raise Problem(Code.PHI_BLOCKED, "Files are not accepted with PHI requests; nothing was kept.", field="X-PHI")


def refuse_encoded(x: Exchange) -> None:
    """Refuse a compressed body: its true size is not known before it is unpacked.

    Raises:
        Problem: `unsupported_media_type`.

    """
    encoding = x.headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
        sentence = "Compressed bodies are not taken; send the body as it is."
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, sentence, field="Content-Encoding")


def json_object(body: bytes) -> dict[str, Any]:
    """Decode a body that must be a JSON object.

    Raises:
        Problem: `invalid_input` that says where the text stops being JSON, `payload_too_large` for too many values.

    """
    try:
        value = _decode(bounded(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(Code.INVALID_INPUT, f"The body is not valid JSON: {str(error)[:200]}.", field="body") from None
    except RecursionError:
        raise Problem(Code.INVALID_INPUT, "The body is nested too deeply.", field="body") from None
    if not isinstance(value, dict):
        raise Problem(Code.INVALID_INPUT, "The body must be a JSON object.", field="body")
    return value


def parameters_of(query: bytes) -> list[tuple[str, str]]:
    """Return a query's parameters in their order.

    Raises:
        Problem: `payload_too_large` for very many, which take long to read.

    """
    try:
        return parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        sentence = f"A query has at most {MOST_PARAMETERS:,} parameters."
        raise Problem(Code.PAYLOAD_TOO_LARGE, sentence, field="query") from None


def is_gone(receive: Receive) -> bool:
    """Say, without waiting, whether the caller has hung up."""
    pending = receive()
    try:
        pending.__await__().send(None)
    except StopIteration as end:
        message = end.value
        return isinstance(message, MutableMapping) and message.get("type") == "http.disconnect"
    finally:
        close = getattr(pending, "close", None)
        if close is not None:
            close()
    return False


def _token(headers: RawHeaders) -> str:
    raw = headers.get(b"authorization")
    if raw is None:
        raw = headers.get(b"x-api-key", b"")
        return raw.decode("latin-1").strip()
    kind, _, token = raw.decode("latin-1").strip().partition(" ")
    return token.strip() if kind.lower() in ("bearer", "key") else ""


def _agreeing(name: str, x: Exchange) -> None:
    """Refuse a header that came twice with different values: no rule says which of them is meant."""
    wanted = name.lower().encode()
    if len({value.strip().lower() for key, value in x.scope["headers"] if key == wanted}) > 1:
        raise Problem(Code.INVALID_INPUT, f"{name} was sent more than once; send one value.", field=name)


_REGIONS = {region.value: region for region in Region}
_TIERS = {tier.value: tier for tier in Tier}


def too_large(most: int) -> Problem:
    """Return the refusal of a body that is larger than `most` bytes."""
    return Problem(Code.PAYLOAD_TOO_LARGE, f"The body is larger than {most} bytes.", field="body")
