"""Black Forest Labs as its clients see it (`wire/providers.md §4`): submit, poll in the task's region, fetch in time.

The task lives in a region with a port of its own, and asking any other place for it answers "Task not found". The
hosts of the EU and the US are the prefixes `/eu` and `/us`. Keys: `empty…` has no credits, `unknown…` is refused.
Words beside every fault: `@moderated`, `@moderated_output`, `@error`, `@polls=3`, `@reasoning`, `@terminal=503` (the
end comes with that HTTP status), `@lost=2` (unknown for so many polls), `@silent` (no cost in the answer), `@link=0.5`.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
import urllib.request
from typing import Any, ClassVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.kernel.ids import uuid7
from calotype.sandbox.base import SHOWN_BYTES, Emulator, reply
from calotype.sandbox.bfl_work import ENDPOINTS, Task, credits_for, measured, picture, wrong
from calotype.sandbox.faults import Fault, words_in

HOSTS = ("", "/eu", "/us")
ACTIVE = {"flux-kontext-max": 6}
_SECRET = secrets.token_bytes(16)


class Bfl(Emulator):
    """The FLUX endpoints of one account."""

    name = "bfl"
    hosts: ClassVar = {"api.bfl.ai": "", "api.eu.bfl.ai": "/eu", "api.us.bfl.ai": "/us"}
    defaults: ClassVar = {"polls": 1, "link_s": 600, "active": 24, "credits": 1_000_000}

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.announced: list[tuple[str, int]] = []
        """Addresses that were called, and what they answered (0: nothing)."""
        self.spent = 0.0
        self._posts: set[asyncio.Task[None]] = set()
        super().__init__()
        self.region = _Region(self)

    def routes(self) -> list[Route]:
        """Return every address."""
        found = [self.route("/delivery/{name}", "file", self._file, "GET")]
        for host in HOSTS:
            found += [
                self.route(f"{host}/v1/get_result", "elsewhere", self._elsewhere, "GET"),
                self.route(f"{host}/v1/credits", "credits", self._credits, "GET"),
                self.route(f"{host}/v1/{{endpoint}}", "submit", self._submit),
            ]
        return found

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype's providers `bfl`, `bfl-eu` and `bfl-us` here."""
        hosts = {f"BFL{host.replace('/', '_').upper()}_API_BASE": self.url + host for host in HOSTS}
        return {"BFL_API_KEY": "bfl-sandbox", **hosts}

    def words_of(self, request: Request, body: bytes) -> str:
        """Look in the model's name and the input, whatever host was asked; later requests keep to those."""
        ident = request.query_params.get("id") or request.path_params.get("name", "").partition(".")[0]
        task = self.tasks.get(ident)
        return task.text if task is not None else _text(request, body)

    def refusal(self, fault: Fault) -> Response:
        """Word an error of this status as the API does (§4.3)."""
        if fault.status == 422:
            return _invalid("width", "As you wished")
        return reply({"detail": f"As you wished: {fault.status}"}, fault.status)

    def state(self) -> dict[str, Any]:
        """Tell what was taken and what is left."""
        left = self.settings["credits"] - self.spent
        return {"tasks": list(self.tasks), "credits": left, "webhooks": self.announced}

    def reset(self) -> None:
        """Forget tasks and bills too."""
        super().reset()
        self.tasks.clear()
        self.announced.clear()
        self.spent = 0.0

    async def start(self, port: int = 0, *, tls: tuple[str, str] | None = None) -> str:
        """Begin to serve, the region on a free port beside."""
        await self.region.start(tls=tls)
        return await super().start(port, tls=tls)

    async def stop(self) -> None:
        """Stop both."""
        await asyncio.gather(super().stop(), self.region.stop())

    # -- submit (§4.1) ------------------------------------------------------------------------------------------------

    async def _submit(self, request: Request) -> Response:
        endpoint, raw = request.path_params["endpoint"], await request.body()
        if (refused := _key_refusal(request)) is not None:
            return refused
        if endpoint not in ENDPOINTS:
            return reply({"detail": "Not Found"}, 404)
        try:
            fields = msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.MsgspecError:
            return _invalid("", "JSON decode error")
        fields = {name: value for name, value in fields.items() if value is not None}
        if (reason := wrong(endpoint, fields)) is not None:
            return _invalid(*reason)
        active = sum(
            not task.over for task in self.tasks.values() if endpoint not in ACTIVE or task.endpoint == endpoint
        )
        if active >= ACTIVE.get(endpoint, self.settings["active"]):
            return reply({"detail": "Too many active tasks"}, 429)
        task = self._taken(request, endpoint, fields, raw)
        output_mp = round(task.width * task.height / 1_000_000, 2)
        bill = {"cost": task.cost, "input_mp": round(task.input_mp, 2), "output_mp": output_mp}
        said = {"id": task.id, **(dict.fromkeys(bill) if "silent" in task.words else bill)}
        if target := fields.get("webhook_url"):
            post = asyncio.create_task(self._announce(task, str(target), str(fields.get("webhook_secret", ""))))
            self._posts.add(post)
            post.add_done_callback(self._posts.discard)
            return reply({**said, "status": "Pending", "webhook_url": target})
        return reply({**said, "polling_url": f"{self.region.url}/v1/get_result?id={task.id}"})

    def _taken(self, request: Request, endpoint: str, fields: dict[str, Any], raw: bytes) -> Task:
        text = _text(request, raw)
        words = words_in(text)
        width, height, input_mp = measured(endpoint, fields)
        host = request.url.path.partition("/v1/")[0]
        usual = "png" if "kontext" in endpoint else "jpeg"
        task = Task(
            id=str(uuid7()), endpoint=endpoint, host=host, prompt=str(fields.get("prompt", "")), text=text, words=words,
            width=width, height=height, format=str(fields.get("output_format", usual)),
            seed=int(fields.get("seed", 42)), cost=credits_for(endpoint, width, height, input_mp), input_mp=input_mp,
            polls=int(words.get("polls", self.settings["polls"])), made_s=time.monotonic(),
        )  # fmt: skip
        self.tasks[task.id] = task
        self.spent += task.cost
        return task

    # -- poll, fetch, account (§4.2, §4.4) ----------------------------------------------------------------------------

    async def look(self, request: Request) -> Response:
        """Answer a poll that came to the task's own region."""
        task = self.tasks.get(request.query_params.get("id", ""))
        if (refused := _key_refusal(request)) is not None:
            return refused
        if task is None:
            return _not_found(request)
        task.looks += 1
        if task.looks <= int(task.words.get("lost", 0)):
            return _not_found(request)
        if not task.over:
            word = "Reasoning" if "reasoning" in task.words else "Pending"
            return reply({**_blank(task.id), "status": word, "progress": round(task.looks / (task.polls + 1), 2)})
        body = {**_blank(task.id), "status": task.end}
        if task.end == "Ready":
            body["result"] = {"sample": self._link(task), "prompt": task.prompt, "seed": task.seed, "duration": 2.4}
        elif task.end != "Error":
            body["details"] = {"Moderation Reasons": ["Safety Filter"]}
        return reply(body, int(task.words.get("terminal", 200)))

    async def _elsewhere(self, request: Request) -> Response:
        return _key_refusal(request) or _not_found(request)

    def _link(self, task: Task) -> str:
        until = time.time() + float(task.words.get("link", self.settings["link_s"]))
        name = f"{task.id}.{task.format}"
        return f"{self.url}/delivery/{name}?se={until:.3f}&sig={_signed(name, f'{until:.3f}')}"

    async def _file(self, request: Request) -> Response:
        """Serve a picture to whoever has the link, as long as it is valid; a key sent along is refused."""
        name, until = request.path_params["name"], request.query_params.get("se", "0")
        task = self.tasks.get(name.partition(".")[0])
        good = hmac.compare_digest(_signed(name, until), request.query_params.get("sig", ""))
        if task is None or not good or float(until) < time.time() or "x-key" in request.headers:
            return Response("<Error><Code>AuthenticationFailed</Code></Error>", 403, media_type="application/xml")
        body = picture(task.width, task.height, task.id, task.format)
        return Response(body, media_type=f"image/{task.format}")

    async def _credits(self, request: Request) -> Response:
        return _key_refusal(request) or reply({"credits": self.settings["credits"] - self.spent})

    async def _announce(self, task: Task, target: str, secret: str) -> None:
        """Call the address of a request once, when it is over (§4.4)."""
        task.looks = task.polls
        body: dict[str, Any] = {"id": task.id, "status": task.end, "timestamp": time.time()}
        if task.end == "Ready":
            body["result"] = {"sample": self._link(task), "prompt": task.prompt, "seed": task.seed}
        else:
            body |= {"status": "Error", "error": task.end, "message": "As you wished"}
        raw = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        if secret:
            headers["X-BFL-Signature"] = f"sha256={hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()}"
        self.announced.append((target, await asyncio.to_thread(_post, target, raw, headers)))


class _Region(Emulator):
    """Where tasks live: another port, with the memory, the orders and the words of the first."""

    name = "bfl-region"

    def __init__(self, first: Bfl) -> None:
        self._first = first
        super().__init__()
        self.submits, self._orders, self._spent = first.submits, first._orders, first._spent

    def routes(self) -> list[Route]:
        return [self.route("/v1/get_result", "status", self._first.look, "GET")]

    def words_of(self, request: Request, body: bytes) -> str:
        return self._first.words_of(request, body)

    def refusal(self, fault: Fault) -> Response:
        return self._first.refusal(fault)


def _text(request: Request, body: bytes) -> str:
    return f"{request.url.path.rpartition('/v1/')[2]} {body[:SHOWN_BYTES].decode(errors='replace')}"


def _blank(ident: str) -> dict[str, Any]:
    return {"id": ident, "result": None, "progress": None, "details": None, "preview": None}


def _not_found(request: Request) -> Response:
    return reply({**_blank(request.query_params.get("id", "")), "status": "Task not found"})


def _invalid(field: str, reason: str) -> Response:
    return reply({"detail": [{"loc": ["body", field], "msg": reason, "type": "value_error"}]}, 422)


def _key_refusal(request: Request) -> Response | None:
    key = request.headers.get("x-key", "")
    if not key or key.startswith("unknown"):
        return reply({"detail": "Not authenticated"}, 403)
    return reply({"detail": "Insufficient credits"}, 402) if key.startswith("empty") else None


def _signed(name: str, until: str) -> str:
    return hmac.new(_SECRET, f"{name} {until}".encode(), hashlib.sha256).hexdigest()[:32]


def _post(target: str, body: bytes, headers: dict[str, str]) -> int:
    try:
        request = urllib.request.Request(target, body, headers, method="POST")  # noqa: S310  (the caller's own address)
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except OSError:
        return 0
