"""KIE.ai as its clients see it (`wire/providers.md §5`): unified jobs, Veo, Suno, uploads, credits and callbacks.

API and upload host share one port. Refusals come with HTTP 200 and a code inside. The first look at a task finds no
record (`nulls`), then it climbs one state a look until it was looked at `polls` times more; with `work_s` (or `@work=2`
in the prompt) time decides instead. Keys: `unknown…` is refused, `empty…` has no credits, `spent…` is a sub-key without
budget. Words beside every fault: `@moderated` (`@moderated=submit` at once), `@fail=501` for a task that fails with
that code, `@code=455` for a refused create, `@empty`, `@origin` (a second film of Veo's), `@exception` (Suno could not
call back; `@songs=1` of them are there), `@uncounted` (no credits in the record), and for callbacks `@call=twice`,
`@call=early`, `@call=forged` or `@call=never`.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, ClassVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.kernel.ids import uuid7
from calotype.sandbox.base import Emulator, reply
from calotype.sandbox.faults import Fault, words_in
from calotype.sandbox.kie_callbacks import bodies_of, post, signed
from calotype.sandbox.kie_checks import job_trouble, music_trouble, veo_trouble
from calotype.sandbox.kie_files import Files, refusal
from calotype.sandbox.kie_work import FLAGGED, FamilyName, Store, Task, cost_of, ending_of, record

CODES: dict[int, str] = {
    400: "The request parameters are wrong.", 401: "You do not have access permissions",
    402: "Credits insufficient", 404: "Not Found", 408: "Upstream is currently experiencing service issues.",
    413: "The payload is too large.", 422: "Validation error", 429: "Your call frequency is too high. Try again later.",
    433: "The sub-key's usage exceeds its limit.", 451: "Failed to fetch the image.",
    455: "The service is under maintenance.", 500: "Server exception, please try again later.",
    501: "Generation failed.", 505: "The feature is disabled.",
}  # fmt: skip
"""What KIE says beside a code (§5.7)."""
_CALLBACK = re.compile(r'"callBackUrl":"[^"]*",?')
PAUSED = "This interface is temporarily paused"
NO_RECORD = {"jobs": "recordInfo is null", "veo": "record is null", "music": "record is null"}


class Kie(Emulator):
    """One account at KIE, its balance and its tasks."""

    name = "kie"
    hosts: ClassVar = {"api.kie.ai": "", "kieai.redpandaai.co": ""}
    defaults: ClassVar = {
        "polls": 2, "work_s": 0, "nulls": 1, "credits": 10_000, "per_window": 20, "window_s": 10, "sora": 1,
        "signed": 1,
    }  # fmt: skip
    webhook_key = "sandbox-webhook-key"

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.calls: list[tuple[str, int]] = []
        """Callbacks that were sent: the task and the answer's status."""
        self.taken = 0.0
        """Credits that tasks cost so far."""
        self._files = Files(self, self._refused)
        self._creates: deque[float] = deque()
        self._running: set[asyncio.Task[None]] = set()
        super().__init__()

    @property
    def uploads(self) -> dict[str, bytes]:
        """Uploaded files by path."""
        return {path: kept[0] for path, kept in self._files.kept.items() if path.startswith("uploads/")}

    def routes(self) -> list[Route]:
        """Return every address."""
        return [
            self.route("/api/v1/jobs/createTask", "submit", self._create_job),
            self.route("/api/v1/jobs/recordInfo", "status", self._record, "GET"),
            self.route("/api/v1/veo/generate", "submit", self._create_veo),
            self.route("/api/v1/veo/record-info", "status", self._record, "GET"),
            self.route("/api/v1/generate", "submit", self._create_music),
            self.route("/api/v1/generate/record-info", "status", self._record, "GET"),
            self.route("/api/v1/chat/credit", "credit", self._credit, "GET"),
            *self._files.routes(),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype's provider `kie` here, with Sora, which KIE itself took away."""
        sora = {
            "sora2-text-to-video": "sora-2-text-to-video", "sora2-video": "sora-2-image-to-video",
            "sora2-character": "sora-2-characters",
        }  # fmt: skip
        return {
            "KIE_API_KEY": "kie-sandbox",
            "KIE_BASE_URL": self.url,
            "CALOTYPE_PROVIDERS__KIE__WEBHOOK_SECRET": self.webhook_key,
            "CALOTYPE_PROVIDERS__KIE__MODELS": msgspec.json.encode(sora).decode(),
        }

    def words_of(self, request: Request, body: bytes) -> str:
        """Let looks at a task and at its files keep to the words of their create."""
        path = request.url.path
        if path.startswith("/files/"):
            return next((task.text for task in self.tasks.values() if task.id in path), "")
        task = self.tasks.get(request.query_params.get("taskId", ""))
        if task is not None:
            return task.text
        if request.method != "POST" or "upload" in path:
            return ""
        return _CALLBACK.sub("", super().words_of(request, body))  # it differs each time the same call is sent

    def refusal(self, fault: Fault) -> Response:
        """Word an error: KIE's own codes come with HTTP 200, the others from what stands before it."""
        if fault.on == "file":
            return Response("Not Found", fault.status, media_type="text/plain")
        if fault.status in CODES:
            return refusal(fault.status, CODES[fault.status])
        text = "error code: 1010" if fault.status == 403 else "<html><title>Bad gateway</title></html>"
        return Response(text, fault.status, media_type="text/html")

    def state(self) -> dict[str, Any]:
        """Tell tasks, callbacks, files and credits."""
        return {
            "tasks": list(self.tasks), "calls": self.calls, "uploads": sorted(self.uploads), "taken": self.taken,
        }  # fmt: skip

    def reset(self) -> None:
        """Forget tasks and files too."""
        super().reset()
        self.tasks.clear()
        self.calls.clear()
        self.taken = 0.0
        self._files.kept.clear()
        self._creates.clear()

    # -- create -------------------------------------------------------------------------------------------------------

    async def _create_job(self, request: Request) -> Response:
        body = await _object(request)
        fields = body.get("input")
        trouble = job_trouble(body.get("model"), fields)
        return self._taken(request, body, "jobs", str(body.get("model")), dict(fields or {}), trouble)

    async def _create_veo(self, request: Request) -> Response:
        body = await _object(request)
        return self._taken(request, body, "veo", str(body.get("model", "veo3_fast")), body, veo_trouble(body))

    async def _create_music(self, request: Request) -> Response:
        body = await _object(request)
        return self._taken(request, body, "music", "suno", body, music_trouble(body))

    def _taken(
        self,
        request: Request,
        body: dict[str, Any],
        family: FamilyName,
        model: str,
        fields: dict[str, Any],
        trouble: str | None,
    ) -> Response:
        """Refuse a create, or take it and its credits."""
        if (refused := self._refused(request)) is not None:
            return refused
        if not self._in_rate():
            return refusal(429, CODES[429])
        raw = msgspec.json.encode(body).decode()
        words = words_in(raw)
        if (code := words.get("code", "")).isdecimal():
            return refusal(int(code), CODES.get(int(code), "Unknown error."))
        if words.get("moderated") == "submit":
            return refusal(400, FLAGGED)
        if trouble is not None:
            return refusal(422, trouble)
        if model.startswith("sora-2") and not self.settings["sora"]:
            return refusal(500, PAUSED)
        cost = cost_of(model, fields)
        if cost > self.settings["credits"] - self.taken:
            return refusal(402, CODES[402])
        task = Task(
            id=f"{'veo_task' if family == 'veo' else 'task'}_{uuid7().replace('-', '')}", family=family, model=model,
            input=fields, param=raw, text=f"{request.url.path} {raw}", words=words, callback=body.get("callBackUrl"),
            created_s=time.monotonic(), created_ms=int(time.time() * 1000),
            polls=int(words.get("polls", self.settings["polls"])),
            nulls=int(words.get("nulls", self.settings["nulls"])),
            work_s=float(words.get("work", self.settings["work_s"])), cost=cost,
        )  # fmt: skip
        self.tasks[task.id] = task
        self.taken += cost
        if task.words.get("call") == "early":
            self._later(self._announce(task, [{"code": 200, "msg": "success", "data": {"taskId": task.id}}]))
        if task.work_s:
            self._later(self._finish_later(task))
        return reply({"code": 200, "msg": "success", "data": {"taskId": task.id, "recordId": task.id}})

    def _in_rate(self) -> bool:
        """Count creates: so many in a window for an account, and none over it is queued (§5.6)."""
        now_s = time.monotonic()
        while self._creates and now_s - self._creates[0] >= self.settings["window_s"]:
            self._creates.popleft()
        if len(self._creates) >= self.settings["per_window"]:
            return False
        self._creates.append(now_s)
        return True

    def _refused(self, request: Request) -> Response | None:
        """Refuse a client without a name, as Cloudflare does, or without a usable key."""
        client = request.headers.get("user-agent", "")
        if not client or client.lower().startswith("python"):
            return Response("error code: 1010", 403, media_type="text/plain")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key or key.startswith("unknown"):
            return refusal(401, CODES[401])
        if key.startswith("empty"):
            return refusal(402, CODES[402])
        return refusal(433, CODES[433]) if key.startswith("spent") else None

    # -- looks --------------------------------------------------------------------------------------------------------

    async def _record(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        task = self.tasks.get(request.query_params.get("taskId", ""))
        family = "veo" if "/veo/" in request.url.path else "music" if "/generate/" in request.url.path else "jobs"
        if task is None or task.family != family:
            return refusal(422, NO_RECORD[family])
        rung = task.look()
        if rung is None:
            return refusal(422, NO_RECORD[family])
        if task.ending is None and task.due(time.monotonic()):
            self._finish(task)
        return reply({"code": 200, "msg": "success", "data": record(task, rung)})

    def _finish(self, task: Task) -> None:
        """Do the work, once; what failed costs nothing in the end."""
        if task.ending is not None:
            return
        task.ending = ending_of(task, self._store(task), self._files.lost, self._files.body_of)
        if task.ending.code != 200:
            self.taken -= task.cost
        if task.callback:
            self._later(self._announce(task, bodies_of(task)))

    def _store(self, task: Task) -> Store:
        count = iter(range(100))

        def store(body: bytes, content_type: str, suffix: str) -> str:
            return self._files.keep(body, content_type, f"files/{task.id}_{next(count)}.{suffix}")

        return store

    async def _finish_later(self, task: Task) -> None:
        await asyncio.sleep(task.work_s)
        self._finish(task)

    async def _announce(self, task: Task, bodies: list[dict[str, Any]]) -> None:
        """Call back; music that could not be told of is marked so (§5.4)."""
        how = task.words.get("call", "once")
        if not task.callback or how == "never":
            return
        key = "" if not self.settings["signed"] else "forged" if how == "forged" else self.webhook_key
        answers = []
        for body in bodies * (2 if how == "twice" else 1):
            answers.append(await asyncio.to_thread(post, task.callback, body, signed(task.id, key)))
            self.calls.append((task.id, answers[-1]))
        task.uncalled = not any(200 <= answer < 300 for answer in answers)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _credit(self, request: Request) -> Response:
        refused = self._refused(request)
        return refused or reply({"code": 200, "msg": "success", "data": self.settings["credits"] - self.taken})


async def _object(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
