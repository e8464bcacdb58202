"""A ComfyUI server as a gateway sees it (`wire/comfyui.md §2 to §4`): graphs are checked and walked, files are real.

Times are settings of the control address: `step_s` a sampler's step, `node_s` a node, `load_s` a model file that was
not loaded, `history_lag_s` between the end and the history entry. `cache`, `metadata`, `previews`, `targeted` (whether
`/interrupt` heeds an id) and `jobs_api` switch what versions and flags of the real server switch; `max_queue` is the
bound of a proxy in front, `oom_pixels` what the card's memory takes, `down_s` how long a restart takes.

Words in the graph: `@work=2` seconds of sampling, `@oom`, `@fails`, `@interrupted`, `@stuck`, `@crash`, `@lost`,
`@empty` (success without outputs), `@late=1`, and every fault. Acts (`do`): `restart`, `drop_sockets`,
`silence_sockets`, `lose_history`, `hang`, `wake`, `add_model folder/file`, `remove_model folder/file`, `lose_files`.
"""

import asyncio
import re
import sys
import time
import uuid
from typing import Any, ClassVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from calotype.sandbox.base import CONTROL, Emulator, drop, reply
from calotype.sandbox.comfyui_checks import World, check
from calotype.sandbox.comfyui_files import Files
from calotype.sandbox.comfyui_jobs import job_of, jobs_of
from calotype.sandbox.comfyui_life import Life
from calotype.sandbox.comfyui_nodes import MODELS, Models, classes
from calotype.sandbox.comfyui_run import Item, Process
from calotype.sandbox.comfyui_sockets import FEATURES, Sockets
from calotype.sandbox.faults import Fault, words_in

VERSION = "0.3.75"
GIB = 1 << 30
SECRETS = ("api_key_comfy_org", "auth_token_comfy_org")
_OWN = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|\d{6,}")
"""What differs each time the same graph is sent: ids and seeds."""


class ComfyUI(Emulator):
    """One worker.

    `token` is what a proxy in front of it wants as `Authorization: Bearer`; `without` names classes that it lacks,
    `models` what lies in its folders.
    """

    websockets = True
    defaults: ClassVar = {
        "step_s": 0, "node_s": 0, "load_s": 0, "history_lag_s": 0, "cache": 1, "metadata": 1, "previews": 0,
        "targeted": 1, "jobs_api": 0, "max_queue": 0, "oom_pixels": 0, "down_s": 0,
    }  # fmt: skip

    def __init__(
        self, name: str = "comfyui", *, token: str | None = None, without: tuple[str, ...] = (),
        models: Models | None = None, vram_gb: int = 24,
    ) -> None:  # fmt: skip
        self.name = name
        self.token = token
        self.classes = classes(without)
        self.first_models = models if models is not None else MODELS
        self.models = {folder: list(names) for folder, names in self.first_models.items()}
        self.vram_gb = vram_gb
        self.files = Files()
        self.sockets = Sockets()
        self.restarts = 0
        self._awake = asyncio.Event()
        self._awake.set()
        self._up_s = 0.0
        self._endings: set[asyncio.Task[None]] = set()
        self._texts: dict[str, str] = {}
        super().__init__()
        self.life = self._born()

    def _born(self) -> Life:
        return Life(Process(self.files, self.sockets, self.settings, self.classes, self.models, self.restart))

    def routes(self) -> list[BaseRoute]:
        """Return every address; each is there with `/api` before it too."""
        return [
            self.route("/prompt", "submit", self._submit),
            self.route("/prompt", "status", self._depth, "GET"),
            self.route("/queue", "status", self._queue, "GET"),
            self.route("/queue", "cancel", self._dequeue),
            self.route("/interrupt", "cancel", self._interrupt),
            self.route("/history", "status", self._history, "GET"),
            self.route("/history", "cleanup", self._forget),
            self.route("/history/{id}", "status", self._entry, "GET"),
            self.route("/jobs", "status", self._jobs, "GET"),
            self.route("/jobs/cancel", "cancel", self._cancel_jobs),
            self.route("/jobs/{id}", "status", self._job, "GET"),
            self.route("/jobs/{id}/cancel", "cancel", self._cancel_jobs),
            self.route("/view", "file", self._view, "GET", "HEAD"),
            self.route("/upload/image", "upload", self._upload),
            self.route("/upload/mask", "upload", self._upload),
            self.route("/free", "free", self._free),
            self.route("/object_info", "discovery", self._object_info, "GET"),
            self.route("/object_info/{name}", "discovery", self._object_info, "GET"),
            self.route("/models", "discovery", self._models, "GET"),
            self.route("/models/{folder}", "discovery", self._models, "GET"),
            self.route("/embeddings", "discovery", self._embeddings, "GET"),
            self.route("/features", "discovery", self._features, "GET"),
            self.route("/system_stats", "health", self._system_stats, "GET"),
            WebSocketRoute("/ws", self._socket),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that make it a worker of Calotype's."""
        name = f"CALOTYPE_WORKERS__{self.name.upper()}"
        found = {f"{name}__URL": self.url}
        return found if self.token is None else {**found, f"{name}__TOKEN": self.token}

    def words_of(self, request: Request, body: bytes) -> str:
        """Look for words in the graph; what is asked later about a job, or its files, keeps to those of its graph."""
        path = request.url.path
        if path == "/prompt":  # each sending of a graph has its own ids and seeds, and is still the same graph
            return _OWN.sub("", body.decode(errors="replace"))
        if path == "/view":
            name = f"{request.query_params.get('subfolder', '')}/{request.query_params.get('filename', '')}"
            return next((text for ident, text in self._texts.items() if ident in name), "")
        return self._texts.get(request.path_params.get("id", ""), "")

    def refusal(self, fault: Fault) -> Response:
        """Word an error as the framework does: plain text."""
        return Response(f"{fault.status}: As you wished", fault.status, media_type="text/plain")

    def state(self) -> dict[str, Any]:
        """Tell what a test wants to know of the process."""
        life = self.life
        return {
            "queue_remaining": len(life.queue) + (life.running is not None), "history": list(life.history),
            "restarts": self.restarts, "loads": life.process.loads, "sockets": len(self.sockets.open),
            "files": ["/".join(part for part in key if part) for key in self.files.bodies],
        }  # fmt: skip

    def reset(self) -> None:
        """Forget everything, files and models too."""
        super().reset()
        self.models = {folder: list(names) for folder, names in self.first_models.items()}
        self.restart()
        self.files.bodies.clear()
        self.restarts, self._up_s = 0, 0.0
        self._awake.set()

    def act(self, order: str) -> bool:
        """Do what the control address asks."""
        name, _, what = order.partition(" ")
        folder, _, file = what.partition("/")
        match name:
            case "restart":
                self.restart()
            case "drop_sockets":
                self.sockets.drop()
            case "silence_sockets":
                self.sockets.silence()
            case "lose_history":
                self.life.history.clear()
            case "lose_files":
                self.files.bodies.clear()
            case "hang":
                self._awake.clear()
            case "wake":
                self._awake.set()
            case "add_model" if file:
                self.models.setdefault(folder, []).append(file)
            case "remove_model" if file in self.models.get(folder, ()):
                self.models[folder].remove(file)
            case _:
                return False
        return True

    def restart(self) -> None:
        """Kill the process and start it again: queue, history, caches and `temp` are gone, and sockets closed."""
        self.restarts += 1
        self._up_s = time.monotonic() + self.settings["down_s"]
        life, self.life = self.life, self._born()
        self.sockets.drop()
        self.sockets.silence()
        self.files.restart()
        ending = asyncio.create_task(life.end())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def stop(self) -> None:
        """Stop serving and end the process."""
        self.sockets.drop()
        self._awake.set()
        await super().stop()
        await self.life.end()
        self.life = self._born()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; one that comes while the process is down gets no answer, while it hangs a late one."""
        if scope["path"] == CONTROL:
            await super().__call__(scope, receive, send)
            return
        if scope["path"].startswith("/api/"):
            scope = {**scope, "path": scope["path"].removeprefix("/api"), "under_api": True}
        if scope["type"] == "http":
            if time.monotonic() < self._up_s:
                await drop(Request(scope, receive))
                return
            await self._awake.wait()
            headers = dict(scope["headers"])
            if self.token is not None and headers.get(b"authorization") != f"Bearer {self.token}".encode():
                await Response("Unauthorized", 401, {"www-authenticate": "Bearer"})(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    # -- jobs (§2) ----------------------------------------------------------------------------------------------------

    async def _submit(self, request: Request) -> Response:
        try:
            body = msgspec.json.decode(await request.body(), type=dict[str, Any])
        except msgspec.MsgspecError:
            return Response("500 Internal Server Error\n\nServer got itself in trouble", 500, media_type="text/plain")
        life = self.life
        if "number" in body:
            number = float(body["number"])
        else:
            number = -life.number if body.get("front") else life.number
            life.number += 1
        if "prompt" not in body:
            error = {"type": "no_prompt", "message": "No prompt provided", "details": "No prompt provided",
                     "extra_info": {}}  # fmt: skip
            return reply({"error": error, "node_errors": {}}, 400)
        longest = self.settings["max_queue"]
        if longest and len(life.queue) + (life.running is not None) >= longest:
            return Response("Too many requests", 429, {"retry-after": "1"}, media_type="text/plain")
        world = World(self.classes, self.models, lambda name: self.files.read(name) is not None)
        verdict = check(body["prompt"], body.get("partial_execution_targets"), world)
        if verdict.error is not None:
            return reply({"error": verdict.error, "node_errors": verdict.node_errors}, 400)
        ident = str(body.get("prompt_id", uuid.uuid4()))
        extra = {name: value for name, value in dict(body.get("extra_data") or {}).items() if name not in SECRETS}
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        extra["create_time"] = int(time.time() * 1000)
        self._texts[ident] = text = (await request.body()).decode(errors="replace")
        life.put(Item(number, 0, ident, body["prompt"], extra, verdict.outputs, words_in(text)))
        return reply({"prompt_id": ident, "number": number, "node_errors": verdict.node_errors})

    async def _depth(self, _: Request) -> Response:
        return reply(self.life.status["status"])

    async def _queue(self, _: Request) -> Response:
        running = [] if self.life.running is None else [self.life.running.shown]
        return reply({"queue_running": running, "queue_pending": [item.shown for item in self.life.queue]})

    async def _dequeue(self, request: Request) -> Response:
        body = await _object(request)
        if body.get("clear"):
            self.life.remove(None)
        for ident in body.get("delete", ()):
            self.life.remove(ident)
        return Response()

    async def _interrupt(self, request: Request) -> Response:
        """Stop the running job; with an id only if that one runs (older servers do not heed it)."""
        ident = (await _object(request)).get("prompt_id") if self.settings["targeted"] else None
        running = self.life.running
        if not ident or (running is not None and running.id == ident):
            self.life.interrupt()
        return Response()

    async def _history(self, request: Request) -> Response:
        query = request.query_params
        entries = list(self.life.history.items())
        most = int(query["max_items"]) if "max_items" in query else len(entries)
        offset = int(query.get("offset", -1))
        first = max(0, len(entries) - most) if offset < 0 else offset
        return reply(dict(entries[first : first + most]))

    async def _entry(self, request: Request) -> Response:
        ident = request.path_params["id"]
        entry = self.life.history.get(ident)
        return reply({} if entry is None else {ident: entry})

    async def _forget(self, request: Request) -> Response:
        body = await _object(request)
        if body.get("clear"):
            self.life.history.clear()
        for ident in body.get("delete", ()):
            self.life.history.pop(ident, None)
        return Response()

    async def _jobs(self, request: Request) -> Response:
        return reply(jobs_of(self.life)) if self._has_jobs(request) else Response(status_code=404)

    async def _job(self, request: Request) -> Response:
        job = job_of(self.life, request.path_params["id"]) if self._has_jobs(request) else None
        return Response(status_code=404) if job is None else reply(job)

    async def _cancel_jobs(self, request: Request) -> Response:
        """Cancel jobs wherever they stand, any number of times."""
        if not self._has_jobs(request):
            return Response(status_code=404)
        one = request.path_params.get("id")
        for ident in [one] if one is not None else (await _object(request)).get("job_ids", ()):
            self.life.remove(ident)
            if self.life.running is not None and self.life.running.id == ident:
                self.life.interrupt()
        return Response()

    def _has_jobs(self, request: Request) -> bool:
        return bool(self.settings["jobs_api"]) and bool(request.scope.get("under_api"))

    # -- files --------------------------------------------------------------------------------------------------------

    async def _view(self, request: Request) -> Response:
        return self.files.view(request)

    async def _upload(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("multipart/"):
            return Response("500 Internal Server Error\n\nServer got itself in trouble", 500, media_type="text/plain")
        async with request.form() as form:
            return self.files.upload(form)

    # -- the worker ---------------------------------------------------------------------------------------------------

    async def _free(self, request: Request) -> Response:
        body = await _object(request)
        for name in ("unload_models", "free_memory"):
            if body.get(name):
                self.life.flag(name)
        return Response()

    async def _object_info(self, request: Request) -> Response:
        name = request.path_params.get("name")
        found = self.classes.values() if name is None else [one for one in (self.classes.get(name),) if one]
        return reply({one.name: one.info(self.models) for one in found})

    async def _models(self, request: Request) -> Response:
        folder = request.path_params.get("folder")
        if folder is None:
            return reply(list(self.models))
        return reply(sorted(self.models[folder])) if folder in self.models else Response(status_code=404)

    async def _embeddings(self, _: Request) -> Response:
        return reply([name.rpartition(".")[0] for name in self.models.get("embeddings", ())])

    async def _features(self, _: Request) -> Response:
        return reply(FEATURES)

    async def _system_stats(self, _: Request) -> Response:
        free = self.vram_gb * GIB - (16 * GIB if self.life.process.loaded else 0)
        system = {
            "os": "posix", "ram_total": 64 * GIB, "ram_free": 48 * GIB, "comfyui_version": VERSION,
            "required_frontend_version": "1.32.9", "python_version": sys.version, "pytorch_version": "2.9.1+cu128",
            "embedded_python": False, "argv": ["main.py", "--listen", "127.0.0.1"],
        }  # fmt: skip
        device = {
            "name": "cuda:0 Emulated", "type": "cuda", "index": 0, "vram_total": self.vram_gb * GIB,
            "vram_free": max(0, free), "torch_vram_total": 0, "torch_vram_free": 0,
        }  # fmt: skip
        return reply({"system": system, "devices": [device]})

    async def _socket(self, connection: WebSocket) -> None:
        wrong = self.token is not None and connection.headers.get("authorization") != f"Bearer {self.token}"
        if wrong or not self._awake.is_set() or time.monotonic() < self._up_s:
            await connection.close()
            return
        life = self.life
        own = life.running is not None and life.running.client_id == connection.query_params.get("clientId")
        await self.sockets.serve(connection, life.status, life.process.node if own else None)


async def _object(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
