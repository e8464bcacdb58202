"""MiniMax's videos as their clients see them: HTTP 200 with the real status inside, three steps to a file.

Keys: `unknown…` is refused, `empty…` has no balance. Words beside every fault: `@code=1026` for an answer with that
code, `@moderated`, `@fail`, `@polls=3`, `@late` (a finished task names no file at first), `@seconds=2`.
"""

from typing import Any, ClassVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.kernel.ids import uuid7
from calotype.sandbox import media
from calotype.sandbox.base import Emulator, reply
from calotype.sandbox.faults import Fault, words_in

MODELS = ("MiniMax-Hailuo-2.3", "MiniMax-Hailuo-2.3-Fast", "MiniMax-Hailuo-02")
ALLOWED = {("768P", 6), ("768P", 10), ("1080P", 6)}
MAX_PROMPT = 2000
MESSAGES = {
    0: "success", 1002: "rate limit", 1004: "not authorized", 1008: "insufficient balance", 1026: "input sensitive",
    1027: "output sensitive", 1033: "system error", 2013: "invalid params", 2049: "invalid api key",
}  # fmt: skip


class MiniMax(Emulator):
    """One account at MiniMax."""

    name = "minimax"
    hosts: ClassVar = {"api.minimax.io": ""}
    defaults: ClassVar = {"polls": 1}

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        super().__init__()

    def routes(self) -> list[Route]:
        """Return every address."""
        return [
            self.route("/v1/video_generation", "submit", self._submit),
            self.route("/v1/query/video_generation", "status", self._look, "GET"),
            self.route("/v1/files/retrieve", "result", self._retrieve, "GET"),
            self.route("/files/{name}", "file", self._file, "GET"),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype's provider `minimax` here."""
        return {"MINIMAX_API_KEY": "minimax-sandbox", "MINIMAX_BASE_URL": self.url}

    def words_of(self, request: Request, body: bytes) -> str:
        """Later requests keep to the words of their submit."""
        query = request.query_params
        ident = query.get("task_id") or query.get("file_id") or request.path_params.get("name", "").partition(".")[0]
        task = self.tasks.get(ident)
        return str(task["text"]) if task is not None else super().words_of(request, body)

    def refusal(self, fault: Fault) -> Response:
        """Word an error of this HTTP status."""
        return reply({"base_resp": {"status_code": 1033, "status_msg": "As you wished"}}, fault.status)

    def state(self) -> dict[str, Any]:
        """Tell what was taken."""
        return {"tasks": list(self.tasks)}

    def reset(self) -> None:
        """Forget it too."""
        super().reset()
        self.tasks.clear()

    async def _submit(self, request: Request) -> Response:
        raw = await request.body()
        if (refused := _key_refusal(request)) is not None:
            return refused
        try:
            fields = msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.MsgspecError:
            return _coded(2013)
        text = self.words_of(request, raw)
        words = words_in(text)
        if code := words.get("code"):
            return _coded(int(code))
        size = (fields.get("resolution", "768P"), fields.get("duration", 6))
        known = fields.get("model") in MODELS and size in ALLOWED
        prompt = fields.get("prompt", "")
        if not known or len(prompt) > MAX_PROMPT or not (prompt or fields.get("first_frame_image")):
            return _coded(2013)
        ident = str(uuid7())
        polls = int(words.get("polls", self.settings["polls"]))
        self.tasks[ident] = {"text": text, "looks": 0, "polls": polls, "fields": fields, "words": words}
        return _coded(0, task_id=ident)

    async def _look(self, request: Request) -> Response:
        ident = request.query_params.get("task_id", "")
        task = self.tasks.get(ident)
        if (refused := _key_refusal(request)) is not None:
            return refused
        if task is None:
            return _coded(2013)
        task["looks"] += 1
        if task["looks"] <= task["polls"]:
            return _coded(0, task_id=ident, status="Queueing" if task["looks"] == 1 else "Processing", file_id="")
        if "moderated" in task["words"]:
            return _coded(1027, task_id=ident, status="Fail", file_id="")
        if "fail" in task["words"]:
            return _coded(0, task_id=ident, status="Fail", file_id="")
        early = "late" in task["words"] and task["looks"] == task["polls"] + 1
        file = "" if early else ident
        return _coded(0, task_id=ident, status="Success", file_id=file, video_width=1366, video_height=768)

    async def _retrieve(self, request: Request) -> Response:
        ident = request.query_params.get("file_id", "")
        if (refused := _key_refusal(request)) is not None:
            return refused
        if ident not in self.tasks:
            return _coded(2013)
        return _coded(
            0, file={"file_id": ident, "filename": "output.mp4", "download_url": f"{self.url}/files/{ident}.mp4"}
        )

    async def _file(self, request: Request) -> Response:
        task = self.tasks.get(request.path_params["name"].partition(".")[0])
        if task is None:
            return Response(status_code=404)
        seconds = float(task["words"].get("seconds", task["fields"].get("duration", 6)))
        return Response(media.mp4(seconds, name=task["text"]), media_type="video/mp4")


def _key_refusal(request: Request) -> Response | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not key:
        return _coded(1004)
    return _coded(2049) if key.startswith("unknown") else _coded(1008) if key.startswith("empty") else None


def _coded(code: int, **more: Any) -> Response:
    return reply({**more, "base_resp": {"status_code": code, "status_msg": MESSAGES.get(code, "unknown error")}})
