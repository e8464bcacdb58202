"""fal.ai: the queue API, which is submitted to once and then polled (`wire/fal.md §5, §14`).

Files of the input are uploaded to fal's storage before the one request that costs money. fal offers no idempotency
key and no look-up, so a submit whose answer was lost is never sent again. A webhook is asked for where we have an
address that fal can reach; it only brings the next poll forward.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from yarl import URL

from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Pending, Succeeded
from calotype.kernel.steps import FileRef, HttpRequest, HttpResponse, Parallel, Steps, TransportError
from calotype.providers.answers import immediately, is_name, retry_after_s
from calotype.providers.base import Call, Check, Handle, Idempotency, MediaInputs, PollSchedule, Provider
from calotype.providers.credentials import mark_of
from calotype.providers.fal_account import account
from calotype.providers.fal_answers import FAILURES, REFUSALS, delivered, failed, speaks, typed, unknown
from calotype.providers.fal_callbacks import keys_of, plausible, proven
from calotype.providers.fal_calls import BASE_URL, UNTAKEN, bases, key_hosts, may_upload, run_base, upstream_input
from calotype.providers.fal_chat import answered, ignored, prompted
from calotype.providers.fal_realtime import framed, token_request
from calotype.providers.fal_streams import streamed
from calotype.providers.openai_errors import prose
from calotype.settings import ProviderSettings

QUICK_MS = 5_000
"""A server error that comes sooner than this is a refusal; a later one may stand for an accepted request."""
START_TIMEOUT_S = 1800
"""How long a request may wait in fal's queue before fal gives it up."""
KEEP_S = 86_400
"""How long fal keeps inputs and outputs: we fetch outputs at once, a day leaves room for a store that is down."""
KEEP_PHI_S = 3_600
POLL_TIMEOUT_S = 30.0
MAX_STREAM_BYTES = 256 << 20
KEYS_LIFE_S, KEYS_AGAIN_S = 86_400, 60
NAMESPACES = ("workflows", "comfy")
_INLINE = frozenset({Operation.TEXT_TO_IMAGE, Operation.IMAGE_TO_IMAGE, Operation.BACKGROUND_REMOVAL})
_WAITING = frozenset({401, 403, 408, 425, 429})


class Fal(Provider):
    """One account at fal, or at a server that speaks as fal does.

    `base_url` is the queue: a path that ends with `/queue`, beside which uploads go to `/rest`, or a host
    `queue.<name>`, beside which they go to `rest.<name>`. So nothing meant for another server reaches the real fal.

    Raises:
        ValueError: the base URL cannot be used.

    """

    kind = "fal"
    idempotency = Idempotency.NONE
    media_inputs = MediaInputs.FILE
    callbacks = True
    schedule = PollSchedule(first_s=1.0, factor=1.2, max_s=10.0)

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self.name = name
        self._queue, self._rest, self._platform = bases(name, settings.base_url or BASE_URL)
        own = URL(self._queue)
        self.output_hosts = frozenset({f"{own.host}:{own.port}"}) if self._queue != BASE_URL else frozenset()
        self._settings = settings
        self._key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
        self._clock = clock or SystemClock()
        self._keys: tuple[bytes, ...] = ()
        self._keys_at_s = float("-inf")

    # -- submit (§5.1) ------------------------------------------------------------------------------------------------

    def submit(self, call: Call) -> Steps[Outcome]:
        """Upload the input's files, then put the request into fal's queue."""
        if not self._key:
            return Failed(FailedKind.AUTH, "The provider has no credential.", detail=f"{self.name}: set api_key")
        phi = call.data_class is DataClass.PHI
        if phi and (call.files or call.operation not in _INLINE):
            return Failed(FailedKind.GONE, "The provider keeps such files at public addresses, where PHI must not be.")
        if call.input.get(UNTAKEN) is not None or UNTAKEN in call.files:
            return Failed(FailedKind.GONE, "The provider takes not every field of this request.")
        fields = upstream_input(call.input)
        if call.operation is Operation.CHAT:
            said = prompted(fields, pictures=call.upstream_model.endswith("/vision"))
            if isinstance(said, Failed):
                return said
            fields = said
        if phi:
            fields["sync_mode"] = True  # the result comes inside the answer (§7.4)
        if call.files:
            uploaded = yield from self._uploaded(call)
            if isinstance(uploaded, Failed):
                return uploaded
            fields |= uploaded
        if call.session is not None and call.data_class is DataClass.GENERAL:  # a frame cannot say "keep nothing"
            return (yield from self._frame(call, fields))
        started_ms = self._clock.now_ms()
        if call.stream:
            request = self._streaming(call, fields)
            return (yield from streamed(request, call, lambda answer: self._refused(call, answer, started_ms)))
        answer: HttpResponse = yield self._post(call, fields)
        return self._accepted(call, answer) if answer.ok else self._refused(call, answer, started_ms)

    def _refused(self, call: Call, answer: HttpResponse, started_ms: int) -> Failed:
        late = self._clock.now_ms() - started_ms > QUICK_MS
        return self._timed(failed(REFUSALS, answer, self._key, late=late, prose=prose(call.input)), answer)

    def _post(self, call: Call, fields: dict[str, Any]) -> HttpRequest:
        keep = {"expiration_duration_seconds": _keep_s(call)}
        headers = {
            **self._authorized(), "Content-Type": "application/json",
            "X-Fal-Store-IO": "0", "x-app-fal-disable-fallback": "true",
            "X-Fal-Request-Start-Timeout": str(START_TIMEOUT_S), "X-Fal-Request-Timeout": str(START_TIMEOUT_S),
            "X-Fal-Object-Lifecycle-Preference": _json(keep).decode(),
        }  # fmt: skip
        return HttpRequest(
            "POST",
            f"{self._queue}/{call.upstream_model}{_webhook(call)}",
            headers=headers,
            body=_json(fields),
            commits=True,
            connect_timeout_s=self._settings.connect_timeout_s,
            read_timeout_s=self._settings.read_timeout_s,
            total_timeout_s=self._settings.read_timeout_s + 30.0,
            max_bytes=1 << 20,
        )

    def _streaming(self, call: Call, fields: dict[str, Any]) -> HttpRequest:
        """Return the request of a direct call whose pieces are sent as they come (§6.2)."""
        queued = self._post(msgspec.structs.replace(call, callback_url=None), fields)
        url = f"{run_base(self._queue)}/{call.upstream_model}/stream"
        headers = {**queued.headers, "Accept": "text/event-stream"}
        longest_s = self._settings.read_timeout_s + START_TIMEOUT_S
        return msgspec.structs.replace(
            queued, url=url, headers=headers, total_timeout_s=longest_s, max_bytes=MAX_STREAM_BYTES
        )

    def _frame(self, call: Call, fields: dict[str, Any]) -> Steps[Outcome]:
        """Return the conversation of one frame; its files come inside the answer (§6.3)."""
        if call.operation in _INLINE:
            fields["sync_mode"] = True
        token = token_request(f"{self._rest}/tokens/", call.upstream_model, self._authorized())
        address = f"{run_base(self._queue).replace('http', 'ws', 1)}/{call.upstream_model}/realtime"
        name = f"{call.session}/{call.upstream_model}/{mark_of(self._key)}"
        return framed(name, token, address, fields, self._key, self._settings.read_timeout_s)

    def _accepted(self, call: Call, answer: HttpResponse) -> Outcome:
        body = answer.json()
        ident = body.get("request_id") if isinstance(body, dict) else None
        if not is_name(ident, 100):
            detail = f"HTTP {answer.status} without a request id"
            return Failed(FailedKind.UNKNOWN, "The provider's answer could not be read.", detail=detail)
        parts = call.upstream_model.split("/")
        app = "/".join(parts[: 3 if parts[0] in NAMESPACES else 2])
        built = f"{self._queue}/{app}/requests/{ident}"
        handle: Handle = {
            "id": ident,
            "status_url": self._theirs(body.get("status_url"), f"{built}/status"),
            "response_url": self._theirs(body.get("response_url"), built),
            "cancel_url": self._theirs(body.get("cancel_url"), f"{built}/cancel"),
        }
        if call.operation is Operation.CHAT:
            handle["chat"] = ignored(call.input)
        return Pending(handle, upstream_id=ident)

    def _theirs(self, url: Any, built: str) -> str:
        """Take an address from the reply only if it is of the same origin: our key goes there."""
        try:
            same = isinstance(url, str) and URL(url).origin() == URL(self._queue).origin()
        except ValueError:
            same = False
        return url if same else built

    # -- uploads (§7.1) -----------------------------------------------------------------------------------------------

    def _uploaded(self, call: Call) -> Steps[dict[str, Any] | Failed]:
        """Put the input's files into fal's storage and return their URLs by field; nothing is billed yet."""
        files = [(name, file) for name, group in call.files.items() for file in group]
        urls: dict[str, list[str]] = {}
        try:
            asked = yield Parallel(tuple(self._initiate(call, file) for _, file in files))
            puts = []
            for (name, file), answer in zip(files, asked, strict=True):
                place = answer.json() if answer.ok else None
                if not isinstance(place, dict) or not may_upload(
                    self._queue, place.get("upload_url"), place.get("file_url")
                ):
                    return self._not_uploaded(answer, name)
                urls.setdefault(name, []).append(place["file_url"])
                puts.append(HttpRequest("PUT", place["upload_url"], {"Content-Type": file.content_type}, file))
            for (name, _), answer in zip(files, (yield Parallel(tuple(puts))), strict=True):
                if not answer.ok:
                    return self._not_uploaded(answer, name)
        except TransportError as error:
            return Failed(FailedKind.RETRY, "The provider's storage could not be reached.", detail=str(error))
        return {name: found if name.endswith("s") else found[0] for name, found in urls.items()}

    def _initiate(self, call: Call, file: FileRef) -> HttpRequest:
        keep = _json({"expiration_duration_seconds": _keep_s(call)}).decode()
        headers = {**self._authorized(), "Content-Type": "application/json", "X-Fal-Object-Lifecycle": keep}
        body = {"file_name": file.name or file.path.name, "content_type": file.content_type}
        url = f"{self._rest}/storage/upload/initiate?storage_type=fal-cdn-v3"
        return HttpRequest("POST", url, headers, _json(body), read_timeout_s=POLL_TIMEOUT_S, max_bytes=1 << 20)

    def _not_uploaded(self, answer: HttpResponse, field: str) -> Failed:
        if answer.status == 413:
            return Failed(
                FailedKind.INVALID, "The provider does not take a file of this size.", field=field, status=413
            )
        refusal = failed(REFUSALS, answer, self._key)
        if refusal.kind in (FailedKind.AUTH, FailedKind.QUOTA):
            return refusal
        kept = msgspec.structs.replace(refusal, kind=FailedKind.RETRY, message="The provider's storage took no file.")
        return self._timed(kept, answer)

    # -- poll, result, cancel (§5.2, §5.4, §5.5) ----------------------------------------------------------------------

    def poll(self, handle: Handle) -> Steps[Outcome]:
        """Read the status, and the result once there is one; the result's status is the end of the request."""
        answer: HttpResponse = yield self._ask("GET", handle["status_url"])
        status = answer.json()
        if not answer.ok or not isinstance(status, dict):
            return self._waiting(answer)
        if status.get("status") != "COMPLETED":
            return Pending(handle)
        failure = bool(status.get("error") or status.get("error_type"))
        answer = yield self._ask("GET", handle["response_url"])
        if answer.ok:
            outcome = delivered(answer, handle["id"])
            return answered(outcome, handle["chat"]) if "chat" in handle and isinstance(outcome, Succeeded) else outcome
        if answer.status == 400 and b"still in progress" in answer.body[:1000]:
            return Pending(handle)
        passing = answer.status in (502, 503, 504) and not typed(answer)  # a gateway's word, not the runner's
        if not failure and (answer.status in _WAITING or passing or not speaks(answer)):
            return self._waiting(answer)
        return failed(FAILURES, answer, self._key)

    def cancel(self, handle: Handle) -> Steps[bool]:
        """Ask to stop, then look: a request that is being worked on may still come to its end."""
        answer: HttpResponse = yield self._ask("PUT", handle["cancel_url"])
        if answer.status not in (200, 202, 400):
            return False
        answer = yield self._ask("GET", handle["status_url"])
        status = answer.json()
        if not answer.ok or not isinstance(status, dict) or status.get("status") != "COMPLETED":
            return False
        if "error_type" in status:
            return bool(status["error_type"] == "client_cancelled")
        answer = yield self._ask("GET", handle["response_url"])
        return answer.status == 499

    def lookup(self, call: Call) -> Steps[Outcome | None]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(None)

    def check(self) -> Steps[Check | None]:
        """Ask for the account's balance."""
        return (yield from account(self._platform, self._authorized()))

    def callback(self, headers: Mapping[str, str], body: bytes, upstream_id: str) -> Steps[bool]:
        """Say whether a webhook about this request is signed by fal (§10); header names are lower case.

        The keys are fetched again after a day, and once more at most every minute when none of them fits.
        """
        now_s = self._clock.now_ms() / 1000
        if not plausible(headers, now_s):
            return False
        found = proven(headers, body, self._keys, now_s)
        age_s = now_s - self._keys_at_s
        if age_s < KEYS_AGAIN_S or (found is not None and age_s < KEYS_LIFE_S):
            return found == upstream_id
        self._keys_at_s = now_s
        keys: tuple[bytes, ...] = ()
        for host in key_hosts(self._queue, self._rest):
            try:
                answer: HttpResponse = yield HttpRequest(
                    "GET", f"{host}/.well-known/jwks.json", read_timeout_s=POLL_TIMEOUT_S, max_bytes=1 << 20
                )
            except TransportError:
                continue
            keys += keys_of(answer.json()) if answer.ok else ()
            if proven(headers, body, keys, now_s) is not None:
                break
        self._keys = keys or self._keys
        return proven(headers, body, self._keys, now_s) == upstream_id

    def _ask(self, method: str, url: str) -> HttpRequest:
        return HttpRequest(method, url, self._authorized(), read_timeout_s=POLL_TIMEOUT_S, total_timeout_s=120.0)

    def _waiting(self, answer: HttpResponse) -> Failed:
        """Say that a read told nothing; only a request that fal itself calls unknown is an end."""
        refusal = failed(REFUSALS, answer, self._key)
        gone = answer.status in (404, 410) and unknown(answer)
        if refusal.kind not in (FailedKind.AUTH, FailedKind.QUOTA) and not (refusal.kind is FailedKind.GONE and gone):
            refusal = msgspec.structs.replace(
                refusal, kind=FailedKind.RETRY, message="The provider could not be asked."
            )
        return self._timed(refusal, answer)

    def _timed(self, outcome: Failed, answer: HttpResponse) -> Failed:
        return msgspec.structs.replace(outcome, retry_after_s=retry_after_s(answer, self._clock))

    def _authorized(self) -> dict[str, str]:
        return {"Authorization": f"Key {self._key}", "Accept": "application/json"}


def _webhook(call: Call) -> str:
    return "" if call.callback_url is None else f"?fal_webhook={quote(call.callback_url, safe='')}"


def _keep_s(call: Call) -> int:
    return KEEP_PHI_S if call.data_class is DataClass.PHI else KEEP_S


_json = msgspec.json.encode
