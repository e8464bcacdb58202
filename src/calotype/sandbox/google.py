"""Google's Gemini API as its clients see it (`wire/providers.md §3, §11`), on one port, in `v1` and in `v1beta`.

Names of fields may be in camelCase or snake_case, also mixed. Keys: `unknown…` is refused, `unpaid…` has no billing.
An operation or interaction goes on until it was looked at `polls` times; with `work_s` time decides. `retired` makes
Imagen and Veo answer 404, as Google does since 2026; with `redirects` a file is delivered by another host name, which
refuses whoever shows it a key. Words beside every fault: those of `google_generate` and `google_work`, `@perday` for a
429 of the day's quota, `@breakoff` for a stream that ends too soon, `@streamerror` for one that ends in an error.
"""

import asyncio
import http.client
import re
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from calotype.sandbox import google_generate, google_work
from calotype.sandbox.base import Emulator, reply
from calotype.sandbox.faults import Fault, words_in
from calotype.sandbox.google_errors import Bad, camel, key_refusal, over_quota, refused
from calotype.sandbox.google_work import Work, new_name

FAMILIES = ("gemini-", "imagen-", "veo-", "lyria-")
RETIRED = ("imagen-", "veo-")
INTERACTIVE = ("gemini-omni", "lyria-3")
"""Models that only the Interactions API runs (§3.7)."""
NOT_HERE = "This model only supports Interactions API."
SHOWN = ("gemini-2.5-flash", "gemini-3.1-flash-image", "gemini-3.8-flash-tts", "gemini-omni-1.1-flash", "lyria-3.5")
"""What the list of models names; every model of a known family runs."""
PIECE_CHARS = 12
_ADDRESS = re.compile(r'https?://[^\s"]+')


class Google(Emulator):
    """The whole API on one port."""

    name = "google"
    hosts: ClassVar = {"generativelanguage.googleapis.com": ""}
    defaults: ClassVar = {"polls": 2, "work_s": 0, "retired": 0, "redirects": 0, "processing": 0}

    def __init__(self) -> None:
        self.works: dict[str, Work] = {}
        self.files: dict[str, tuple[bytes, str]] = {}
        self.keys_shown: list[str] = []
        """Keys that were shown to the other host name, where none belongs."""
        self.webhooks: list[tuple[str, int]] = []
        self._looks: dict[str, int] = {}
        self._finishes: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        super().__init__()

    def routes(self) -> list[Route]:
        """Return every address."""
        return [
            self.route("/{version}/models/{model}/operations/{id}", "status", self._operation, "GET"),
            self.route("/{version}/models/{call}", "submit", self._call),
            self.route("/{version}/models", "models", self._models, "GET"),
            self.route("/{version}/interactions/{id}/cancel", "cancel", self._cancel),
            self.route("/{version}/interactions/{id}", "status", self._interaction, "GET", "DELETE"),
            self.route("/{version}/interactions", "submit", self._interact),
            self.route("/upload/{version}/files", "upload", self._upload_start),
            self.route("/upload/{version}/files/{id}", "upload", self._upload, "POST", "PUT"),
            self.route("/{version}/files/{id}", "file", self._file, "GET"),
            self.route("/delivery/{id}", "file", self._delivery, "GET"),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype's provider `google` here."""
        return {"GEMINI_API_KEY": "sandbox-key", "GOOGLE_GEMINI_BASE_URL": self.url}

    def words_of(self, request: Request, body: bytes) -> str:
        """Look for words in the model's name and the input; later requests keep to those of their submit."""
        ident = request.path_params.get("id", "").partition(":")[0]
        for work in self.works.values():
            if ident and ident in (work.name.rpartition("/")[2], work.file):
                return work.text
        # a call has a new address to call back each time it is sent, and is still the same
        return _ADDRESS.sub("", super().words_of(request, body)) if "id" not in request.path_params else ""

    def refusal(self, fault: Fault) -> Response:
        """Word an error of this status as Google does."""
        return over_quota(fault.retry_after, per_day=False) if fault.status == 429 else refused(fault.status)

    def state(self) -> dict[str, Any]:
        """Tell what was taken on and where keys were shown."""
        return {"works": list(self.works), "files": len(self.files), "keys_shown": len(self.keys_shown),
                "webhooks": self.webhooks}  # fmt: skip

    def reset(self) -> None:
        """Forget works and files too."""
        super().reset()
        for kept in (self.works, self.files, self._looks, self._finishes):
            kept.clear()
        self.keys_shown.clear()
        self.webhooks.clear()

    # -- calls that answer at once, and operations (§3.3 to §3.6, §3.9) ------------------------------------------------

    async def _call(self, request: Request) -> Response:
        model, _, method = request.path_params["call"].partition(":")
        streaming = method == "streamGenerateContent"
        if (refusal := key_refusal(request)) is not None:
            return refusal
        body, words = await self._read(request)
        if (refusal := self._no_model(model)) is not None:
            return refusal
        if "perday" in words:
            return over_quota(None, per_day=True, in_list=streaming)
        try:
            if method in ("generateContent", "streamGenerateContent"):
                if model.startswith(INTERACTIVE):
                    raise Bad(NOT_HERE)
                answer = google_generate.content_answer(model, body, self._timed(words, body))
                return self._streamed(answer, words) if streaming else reply(answer)
            if method == "batchEmbedContents" and "embedding" in model:
                return reply(google_generate.vectors(body))
            if method == "predict" and model.startswith("imagen-"):
                return reply(google_generate.predictions(body, words))
            if method == "predictLongRunning" and model.startswith("veo-"):
                google_work.check_video(body)
                work = self._taken(f"models/{model}/operations/{new_name('op')}", model, body, words)
                return reply({"name": work.name})
        except Bad as wrong:
            return refused(wrong.status, str(wrong), in_list=streaming)
        return refused(404, f"models/{model} is not found for API version v1beta, or is not supported for {method}.")

    async def _models(self, request: Request) -> Response:
        listed = [{"name": f"models/{model}", "displayName": model} for model in SHOWN]
        return key_refusal(request) or reply({"models": listed[: int(request.query_params.get("pageSize", 50))]})

    def _no_model(self, model: str) -> Response | None:
        if not model.startswith(FAMILIES) or (self.settings["retired"] and model.startswith(RETIRED)):
            return refused(404, f"models/{model} is no longer available.")
        return None

    def _timed(self, words: dict[str, str], body: dict[str, Any]) -> dict[str, str]:
        """Let `@finish` hold for the first `@times` requests with the same text only."""
        if "finish" not in words or "times" not in words:
            return words
        text = google_generate.texts_of(body)
        self._finishes[text] = self._finishes.get(text, 0) + 1
        kept = self._finishes[text] <= int(words["times"])
        return words if kept else {name: value for name, value in words.items() if name != "finish"}

    def _streamed(self, whole: dict[str, Any], words: dict[str, str]) -> Response:
        """Send an answer in pieces, each a whole chunk; the last has the reason and the usage (§3.9)."""
        chunks = [whole]
        candidates = whole.get("candidates") or []
        if candidates and candidates[0].get("content"):
            parts = candidates[0]["content"]["parts"]
            small = [one for part in parts for one in _small(part)]
            chunks = [
                {**whole, "candidates": [{"index": 0, "content": {"role": "model", "parts": [one]}}]} for one in small
            ]
            chunks = [{k: v for k, v in chunk.items() if k != "usageMetadata"} for chunk in chunks]
            last = {**whole, "candidates": [{**candidates[0], "content": {"role": "model", "parts": [{"text": ""}]}}]}
            chunks.append(last)
        if "breakoff" in words:
            chunks = chunks[:-1]
        if "streamerror" in words:
            chunks[-1] = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}

        async def events() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield b"data: " + msgspec.json.encode(chunk) + b"\r\n\r\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    async def _operation(self, request: Request) -> Response:
        name = f"models/{request.path_params['model']}/operations/{request.path_params['id']}"
        work = self.works.get(name)
        if (refusal := key_refusal(request)) is not None or work is None:
            return refusal or refused(404, f"{name} is not found.")
        return reply(google_work.operation_answer(work, self._url_of(work, request, work.body.get("parameters") or {})))

    # -- interactions (§3.7) ------------------------------------------------------------------------------------------

    async def _interact(self, request: Request) -> Response:
        if (refusal := key_refusal(request)) is not None:
            return refusal
        body, words = await self._read(request)
        model = str(body.get("model", ""))
        if (refusal := self._no_model(model)) is not None:
            return refusal
        if "perday" in words:
            return over_quota(None, per_day=True)
        try:
            google_work.check_interaction(body)
        except Bad as wrong:
            return refused(wrong.status, str(wrong))
        work = self._taken(new_name("v1_"), model, body, words)
        if not body.get("background"):
            work.polls = 0
            work.work_s = 0
        elif work.work_s and (uris := (body.get("webhookConfig") or {}).get("uris")):
            task = asyncio.create_task(self._announce(work, uris[0]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return reply(self._shown(work, request))

    async def _interaction(self, request: Request) -> Response:
        work = self.works.get(request.path_params["id"])
        if (refusal := key_refusal(request)) is not None or work is None:
            return refusal or refused(404, "Interaction not found.")
        if request.method == "DELETE":
            del self.works[work.name]
            return reply({})
        return reply(self._shown(work, request))

    async def _cancel(self, request: Request) -> Response:
        work = self.works.get(request.path_params["id"])
        if (refusal := key_refusal(request)) is not None or work is None:
            return refusal or refused(404, "Interaction not found.")
        if work.looks <= work.polls:
            work.canceled = True
        return reply(self._shown(work, request))

    def _shown(self, work: Work, request: Request) -> dict[str, Any]:
        return google_work.interaction_answer(work, self._url_of(work, request, work.body.get("responseFormat") or {}))

    async def _announce(self, work: Work, target: str) -> None:
        """Tell that an interaction has ended, where time decides when it does."""
        await asyncio.sleep(work.work_s)
        raw = msgspec.json.encode({"type": "interaction.completed", "data": {"id": work.name}})
        self.webhooks.append((target, await asyncio.to_thread(_post, target, raw)))

    # -- files (§3.3, §3.6) -------------------------------------------------------------------------------------------

    async def _upload_start(self, request: Request) -> Response:
        if (refusal := key_refusal(request)) is not None:
            return refusal
        if request.headers.get("x-goog-upload-command") != "start":
            return refused(400, "The upload must begin with the command start.")
        kind = request.headers.get("x-goog-upload-header-content-type", "application/octet-stream")
        ident = new_name("f")
        self.files[ident] = (b"", kind)
        place = f"{_origin(request)}{request.url.path}/{ident}?upload_protocol=resumable"
        return reply({}, headers={"x-goog-upload-url": place, "x-goog-upload-status": "active"})

    async def _upload(self, request: Request) -> Response:
        ident = request.path_params["id"]
        if ident not in self.files or request.headers.get("x-goog-upload-command") != "upload, finalize":
            return refused(404, "No such upload.")
        self.files[ident] = (await request.body(), self.files[ident][1])
        return reply({"file": self._described(ident, request)}, headers={"x-goog-upload-status": "final"})

    def _described(self, ident: str, request: Request) -> dict[str, Any]:
        body, kind = self.files[ident]
        self._looks[ident] = self._looks.get(ident, 0) + 1
        state = "PROCESSING" if self._looks[ident] <= self.settings["processing"] else "ACTIVE"
        uri = f"{_origin(request)}/{request.path_params['version']}/files/{ident}"
        return {"name": f"files/{ident}", "uri": uri, "mimeType": kind, "sizeBytes": str(len(body)), "state": state}

    async def _file(self, request: Request) -> Response:
        ident, _, verb = request.path_params["id"].partition(":")
        if (refusal := key_refusal(request)) is not None or ident not in self.files:
            return refusal or refused(403, "You do not have permission to access the File, or it may not exist.")
        if verb != "download":
            return reply(self._described(ident, request))
        if self.settings["redirects"]:
            url = urlsplit(_origin(request))
            other = "localhost" if url.hostname == "127.0.0.1" else "127.0.0.1"
            return RedirectResponse(f"{url.scheme}://{other}:{url.port}/delivery/{ident}", 302)
        body, kind = self.files[ident]
        return Response(body, media_type=kind)

    async def _delivery(self, request: Request) -> Response:
        if key := request.headers.get("x-goog-api-key"):
            self.keys_shown.append(key)
            return Response(status_code=403)
        body, kind = self.files.get(request.path_params["id"], (b"", ""))
        return Response(body, media_type=kind) if body else Response(status_code=404)

    # -- small parts --------------------------------------------------------------------------------------------------

    async def _read(self, request: Request) -> tuple[dict[str, Any], dict[str, str]]:
        raw = await request.body()
        try:
            body = camel(msgspec.json.decode(raw or b"{}", type=dict[str, Any]))
        except msgspec.MsgspecError:
            body = {}
        text = google_work.said_in(body) if "input" in body else google_generate.texts_of(body)
        return body, words_in(f"{request.url.path} {text}")

    def _taken(self, name: str, model: str, body: dict[str, Any], words: dict[str, str]) -> Work:
        text = google_work.said_in(body) if "input" in body else google_generate.texts_of(body)
        work = Work(
            name, model, body, text, words, time.monotonic(), polls=int(words.get("polls", self.settings["polls"])),
            work_s=float(words.get("work", self.settings["work_s"])),
        )  # fmt: skip
        self.works[name] = work
        return work

    def _url_of(self, work: Work, request: Request, asked: dict[str, Any]) -> str:
        """Return where the video of a piece of work is; it is made when it is first needed."""
        video = work.model.startswith(("veo-", "gemini-omni"))
        if video and not work.file and work.looks >= work.polls:
            work.file = new_name("v")
            self.files[work.file] = (google_work.film(asked, work.name), "video/mp4")
        return f"{_origin(request)}/v1beta/files/{work.file}:download?alt=media"


def _small(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Cut a text into small parts; anything else stays whole."""
    text = part.get("text")
    if not isinstance(text, str):
        return [part]
    return [{**part, "text": text[at : at + PIECE_CHARS]} for at in range(0, len(text), PIECE_CHARS)]


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"


def _post(target: str, raw: bytes) -> int:
    """Send a webhook; no answer is 0."""
    url = urlsplit(target)
    connection = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    try:
        link = connection(url.hostname or "", url.port, timeout=15)
        link.request(
            "POST", url.path + (f"?{url.query}" if url.query else ""), raw, {"Content-Type": "application/json"}
        )
        return link.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
