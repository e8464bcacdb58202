"""fal.ai as its clients see it (`wire/fal.md`): queue, run, realtime, storage, prices, signed webhooks, on one port.

The services are prefixes of the port (`/queue`, `/run`, `/rest`, `/cdn`, `/platform`) and answer to fal's host names
too. A request is IN_QUEUE at the first look, IN_PROGRESS until it was looked at `polls` times, then COMPLETED; with
`work_s` (or `@work=2 @queue=1` in the prompt) time decides instead. Words: `@polls=5`, `@moderated`, `@nsfw`,
`@type=image_too_small` or `@type=runner_disconnected` for a failure of that type, and every fault.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from calotype.kernel.ids import uuid7
from calotype.sandbox.base import Emulator, reply
from calotype.sandbox.fal_endpoints import prices_of
from calotype.sandbox.fal_models import Ending, ending_of, model_error, platform_error
from calotype.sandbox.fal_realtime import Realtime
from calotype.sandbox.fal_storage import Storage, key_refusal, origin
from calotype.sandbox.fal_webhooks import Webhooks
from calotype.sandbox.fal_work import ID_HEADER, Work, log_line, urls_of
from calotype.sandbox.faults import Fault, words_in

TICK_S = 0.01
_ADDRESS = re.compile(r'https?://[^\s"]+')
_NOT_FOUND = {"detail": "Request not found", "status": "NOT_FOUND"}


class Fal(Emulator):
    """The whole of fal on one port."""

    name = "fal"
    websockets = True
    hosts: ClassVar = {
        "queue.fal.run": "/queue", "fal.run": "/run", "rest.fal.ai": "/rest", "rest.alpha.fal.ai": "/rest",
        "v3.fal.media": "/cdn", "api.fal.ai": "/platform",
    }  # fmt: skip
    defaults: ClassVar = {"polls": 2, "work_s": 0, "queue_s": 0, "strict": 0, "realtime_idle_s": 60}

    def __init__(self) -> None:
        self.works: dict[str, Work] = {}
        self.webhooks = Webhooks()
        self.storage = Storage(self)
        self.realtime = Realtime(self, self._kept)
        self._tasks: set[asyncio.Task[None]] = set()
        super().__init__()

    def routes(self) -> list[BaseRoute]:
        """Return every address."""
        request = "/queue/{endpoint:path}/requests/{id}"
        return [
            self.route(f"{request}/status", "status", self._status, "GET"),
            self.route(f"{request}/status/stream", "status", self._status_stream, "GET"),
            self.route(f"{request}/cancel", "cancel", self._cancel, "PUT"),
            self.route(f"{request}/response", "result", self._result, "GET"),
            self.route(request, "result", self._result, "GET"),
            self.route("/queue/{endpoint:path}", "submit", self._submit),
            self.route("/run/{endpoint:path}/stream", "submit", self._stream),
            self.route("/run/{endpoint:path}", "submit", self._run),
            *self.storage.routes(),
            *self.realtime.routes(),
            self.route("/rest/.well-known/jwks.json", "keys", self._jwks, "GET"),
            self.route("/platform/v1/models/pricing", "platform", self._pricing, "GET"),
            self.route("/platform/v1/account/billing", "platform", self._billing, "GET"),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype's provider `fal` here."""
        return {"FAL_KEY": "sandbox:key", "CALOTYPE_PROVIDERS__FAL__BASE_URL": f"{self.url}/queue"}

    def words_of(self, request: Request, body: bytes) -> str:
        """Look for words in the model's name and the input; later requests keep to those of their submit."""
        if (work := self.works.get(request.path_params.get("id", ""))) is not None:
            return work.text
        path = request.url.path
        if path.startswith("/cdn/"):
            return next((work.text for work in self.works.values() if work.id[-12:] in path), "")
        if not path.startswith(("/queue/", "/run/")):
            return ""
        # a file has a new address each time it is uploaded, and a request sent again is still the same
        return _ADDRESS.sub("", super().words_of(request, body))

    def refusal(self, fault: Fault) -> Response:
        """Word an error as the platform does; a 429 is the limit of concurrent requests (`wire/fal.md §8`)."""
        headers = {ID_HEADER: str(uuid7())}
        if fault.status == 429:
            body = {"detail": "Reached concurrent requests limit of 20", "type": "concurrent_requests_limit",
                    "data": {"limit": 20}}  # fmt: skip
            return reply(body, 429, {**headers, "x-fal-needs-retry": "1"})
        if fault.status == 422:
            return _told(model_error("value_error"), str(uuid7()))
        return reply({"detail": f"As you wished: {fault.status}"}, fault.status, headers)

    def state(self) -> dict[str, Any]:
        """Tell how many requests were taken and what became of webhooks."""
        return {"requests": list(self.works), "files": len(self.storage.files), "webhooks": self.webhooks.sent,
                "sessions": self.realtime.opened}  # fmt: skip

    def reset(self) -> None:
        """Forget requests and files too."""
        super().reset()
        self.works.clear()
        self.storage.files.clear()
        self.realtime.reset()
        self.webhooks.sent.clear()

    async def stop(self) -> None:
        """Stop serving; the end of a request that goes on is announced to nobody."""
        unsaid = list(self._tasks)
        for task in unsaid:
            task.cancel()
        await asyncio.gather(*unsaid, return_exceptions=True)
        await super().stop()

    # -- queue (§5) ---------------------------------------------------------------------------------------------------

    async def _submit(self, request: Request) -> Response:
        work = await self._taken(request)
        if isinstance(work, Response):
            return work
        if target := request.query_params.get("fal_webhook"):
            task = asyncio.create_task(self._announce(work, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        body = {"status": "IN_QUEUE", "queue_position": 0, "logs": None, "metrics": {}, **urls_of(work, request)}
        return reply(body, headers={ID_HEADER: work.id})

    async def _status(self, request: Request) -> Response:
        work = self._found(request)
        if work is None:
            return reply(_NOT_FOUND, 404, {ID_HEADER: str(uuid7())})
        body = self._look(work, request)
        return reply(body, 200 if body["status"] == "COMPLETED" else 202, {ID_HEADER: work.id})

    async def _status_stream(self, request: Request) -> Response:
        work = self._found(request)
        if work is None:
            return reply(_NOT_FOUND, 404)
        found = work

        async def events() -> AsyncIterator[str]:
            while True:
                body = self._look(found, request)
                yield _event(body)
                if body["status"] == "COMPLETED":
                    return
                await asyncio.sleep(TICK_S)

        return StreamingResponse(events(), media_type="text/event-stream")

    async def _result(self, request: Request) -> Response:
        work = self._found(request)
        if work is None:
            return reply(_NOT_FOUND, 404, {ID_HEADER: str(uuid7())})
        if not work.done:
            work.looks += 1
            if work.status(time.monotonic()) != "COMPLETED":
                return reply({"detail": "Request is still in progress"}, 400, {ID_HEADER: work.id})
        return _told(self._ending(work), work.id)

    async def _cancel(self, request: Request) -> Response:
        work = self._found(request)
        if work is None:
            return reply({**_NOT_FOUND, "success": False}, 404)
        status = work.status(time.monotonic())
        if status == "COMPLETED":
            return reply({"status": "ALREADY_COMPLETED", "success": False}, 400, {ID_HEADER: work.id})
        work.canceled = True
        if status == "IN_QUEUE":
            return reply({"status": "OK", "success": True}, 200, {ID_HEADER: work.id})
        return reply({"status": "CANCELLATION_REQUESTED", "success": True}, 202, {ID_HEADER: work.id})

    # -- run and stream (§6) ------------------------------------------------------------------------------------------

    async def _run(self, request: Request) -> Response:
        work = await self._taken(request)
        if isinstance(work, Response):
            return work
        await asyncio.sleep(work.queue_s + work.work_s)
        return _told(self._ending(work), work.id)

    async def _stream(self, request: Request) -> Response:
        work = await self._taken(request)
        if isinstance(work, Response):
            return work
        ending = self._ending(work)
        if ending.error is not None:
            return _told(ending, work.id)

        async def events() -> AsyncIterator[str]:
            text = ending.body.get("output") if isinstance(ending.body, dict) else None
            if isinstance(text, str):
                for end in range(8, len(text), 8):
                    yield _event({"output": text[:end], "partial": True, "error": None})
            else:
                yield _event({"progress": 0.5, "note": "à mi-chemin"})
            yield ": ping\n\n"
            if "stops" not in work.words:
                yield _event(ending.body)

        return StreamingResponse(events(), media_type="text/event-stream", headers={ID_HEADER: work.id})

    # -- around it ----------------------------------------------------------------------------------------------------

    async def _jwks(self, request: Request) -> Response:  # noqa: ARG002
        return reply(self.webhooks.jwks())

    async def _pricing(self, request: Request) -> Response:
        """Answer unit prices (§11); errors here have the platform's own envelope."""
        if key_refusal(request) is not None:
            return _platform_refusal("authorization_error", "Authentication required", 401)
        asked = [one for value in request.query_params.getlist("endpoint_id") for one in value.split(",") if one]
        if not 1 <= len(asked) <= 50:
            return _platform_refusal("validation_error", "endpoint_id: between 1 and 50 values are required", 400)
        listed = prices_of(asked)
        if self.settings["strict"] and len(listed) < len(set(asked)):
            return _platform_refusal("not_found", "Endpoint not found", 404)
        return reply({"prices": listed, "next_cursor": None, "has_more": False})

    async def _billing(self, request: Request) -> Response:
        """Answer the balance; keys that begin with `admin` may see it."""
        if (refused := key_refusal(request)) is not None:
            return refused
        if not request.headers["authorization"].removeprefix("Key ").startswith("admin"):
            return _platform_refusal("authorization_error", "Admin scope required", 403)
        return reply({"username": "sandbox", "credits": {"current_balance": 24.5, "currency": "USD"}})

    async def _taken(self, request: Request) -> Work | Response:
        if (refused := key_refusal(request)) is not None:
            return refused
        raw = await request.body()
        try:
            fields = msgspec.json.decode(raw or b"{}", type=dict[str, Any])
        except msgspec.MsgspecError:
            return reply({"detail": "Invalid JSON body"}, 400, {ID_HEADER: str(uuid7())})
        endpoint = request.path_params["endpoint"]
        longest = request.query_params.get("fal_max_queue_length", "")
        waiting = sum(not work.done for work in self.works.values() if work.endpoint == endpoint)
        if longest.isdecimal() and waiting > int(longest):
            return self.refusal(Fault(status=429))
        words = words_in(f"{endpoint} {raw.decode(errors='replace')}")
        headers = request.headers
        timeout = headers.get("x-fal-request-start-timeout") or headers.get("x-fal-request-timeout")
        work = Work(
            id=str(uuid7()), endpoint=endpoint, fields=fields, text=self.words_of(request, raw), words=words,
            created_s=time.monotonic(), polls=int(words.get("polls", self.settings["polls"])),
            queue_s=float(words.get("queue", self.settings["queue_s"])),
            work_s=float(words.get("work", self.settings["work_s"])),
            start_timeout_s=float(timeout) if timeout else None, cdn=origin(request, "cdn"),
        )  # fmt: skip
        self.works[work.id] = work
        return work

    def _found(self, request: Request) -> Work | None:
        """Look a request up by its id alone, whatever stands before it (`wire/fal.md §0.5`)."""
        return self.works.get(request.path_params["id"])

    def _look(self, work: Work, request: Request) -> dict[str, Any]:
        """Return the status with every key that any client wants (§5.2)."""
        work.looks += 1
        status = work.status(time.monotonic())
        body: dict[str, Any] = {"status": status, **urls_of(work, request)}
        if status == "IN_QUEUE":
            return body | {"queue_position": max(0, work.polls - work.looks)}
        with_logs = request.query_params.get("logs", "").lower() in ("1", "true")
        body["logs"] = [log_line("loading"), log_line("step 3/20")] if with_logs else None
        if status == "COMPLETED":
            ending = self._ending(work)
            body["metrics"] = {"inference_time": 0.42}
            if ending.error is not None:
                body |= {"error": ending.error, "error_type": ending.error_type}
        return body

    def _ending(self, work: Work) -> Ending:
        """Run the model, once."""
        if work.ending is None:
            work.done = True
            waited_s = time.monotonic() - work.created_s
            if work.canceled:
                work.ending = platform_error("client_cancelled", "Request cancelled by the client.")
            elif work.start_timeout_s is not None and work.start_timeout_s < min(work.queue_s, waited_s):
                work.ending = platform_error("request_timeout")
            else:
                work.ending = ending_of(
                    work.endpoint, work.id, work.fields, work.words,
                    store=lambda body, kind, name: self._keep(work, body, kind, name), known=self._known,
                )  # fmt: skip
            work.ended.set()
        return work.ending

    def _keep(self, work: Work, body: bytes, content_type: str, name: str) -> str:
        return f"{work.cdn}/{self.storage.put(body, content_type, f'{work.id[-12:]}_{name}')}"

    def _kept(self, body: bytes, content_type: str, name: str) -> str:
        return f"{self.url}/cdn/{self.storage.put(body, content_type, name)}"

    def _known(self, url: str) -> bool:
        """Say whether an input can be fetched: files of ours by name, other addresses are taken on trust."""
        path = urlsplit(url).path
        ours = path.removeprefix("/cdn").lstrip("/")
        return ours in self.storage.files if "/files/" in path else url.startswith(("http://", "https://"))

    # -- webhooks (§10) -----------------------------------------------------------------------------------------------

    async def _announce(self, work: Work, target: str) -> None:
        """Post the end of a request, which comes at its own time, or with the last of the looks it was given."""
        if work.polls != self.defaults["polls"]:
            await work.ended.wait()
        await asyncio.sleep(work.queue_s + work.work_s)
        ending = self._ending(work)
        body = {
            "request_id": work.id, "gateway_request_id": work.id, "status": "ERROR" if ending.error else "OK",
            "error": ending.error, "payload": ending.body,
        }  # fmt: skip
        raw = msgspec.json.encode(body)
        await asyncio.to_thread(self.webhooks.post, target, raw, work.id)


def _told(ending: Ending, request_id: str) -> Response:
    headers = {ID_HEADER: request_id, **ending.headers}
    if ending.units is not None:
        headers["x-fal-billable-units"] = f"{ending.units:g}"
    return reply(ending.body, ending.status, headers)


def _event(body: Any) -> str:
    return f"data: {json.dumps(body, ensure_ascii=True)}\n\n"


def _platform_refusal(kind: str, message: str, status: int) -> Response:
    return reply({"error": {"type": kind, "message": message, "request_id": str(uuid7())}}, status)
