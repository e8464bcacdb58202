"""Mistral as its clients see it: transcription, speech, documents and the list of models, in its own shape of errors.

Keys: `unknown…` is refused, `empty…` has no credit. Words beside every fault, in a prompt, a text or a file:
`@silent` leaves the counts out, `@nothing` delivers nothing, `@pages=3` is how many pages a document has.
"""

import io
import wave
from base64 import b64decode, b64encode
from typing import Any, ClassVar

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.sandbox import media
from calotype.sandbox.base import Emulator, reply
from calotype.sandbox.faults import Fault, words_in

MODELS = ("voxtral-mini-latest", "voxtral-mini-tts-3-0", "mistral-ocr-2512", "mistral-ocr-latest")
FORMATS = ("mp3", "wav", "pcm", "flac", "opus")
MAX_PROCESSED = 1000


class Mistral(Emulator):
    """One account at Mistral."""

    name = "mistral"
    hosts: ClassVar = {"api.mistral.ai": ""}

    def __init__(self) -> None:
        self.done: list[str] = []
        """Paid work, by its path."""
        super().__init__()

    def routes(self) -> list[Route]:
        """Return every address."""
        return [
            self.route("/v1/audio/transcriptions", "submit", self._transcribe),
            self.route("/v1/audio/speech", "submit", self._speak),
            self.route("/v1/ocr", "submit", self._read),
            self.route("/v1/models", "models", self._models, "GET"),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype's provider `mistral` here."""
        return {"MISTRAL_API_KEY": "mistral-sandbox", "MISTRAL_API_BASE": f"{self.url}/v1"}

    def words_of(self, request: Request, body: bytes) -> str:
        """Look also into what a document given as text holds."""
        text = super().words_of(request, body)
        if request.url.path.endswith("/ocr"):
            fields = _json(body)
            document = fields.get("document") if isinstance(fields, dict) else None
            url = document.get("document_url", "") if isinstance(document, dict) else ""
            text += b64decode(url.partition(",")[2] or "").decode(errors="replace")[:2_000]
        return text

    def refusal(self, fault: Fault) -> Response:
        """Word an error as the API does."""
        return _refused(fault.status, "As you wished")

    def state(self) -> dict[str, Any]:
        """Tell what was done."""
        return {"done": self.done}

    def reset(self) -> None:
        """Forget it too."""
        super().reset()
        self.done.clear()

    async def _transcribe(self, request: Request) -> Response:
        form = await request.form()
        file, model = form.get("file"), form.get("model")
        if (refused := _key_refusal(request) or _model_refusal(model)) is not None:
            return refused
        if not isinstance(file, UploadFile):
            return _refused(422, "file is required", "file")
        timed = form.getlist("timestamp_granularities")
        if timed and form.get("language"):
            return _refused(400, "timestamp_granularities and language exclude each other", "language")
        body = await file.read()
        words = words_in(body.decode(errors="replace")[-2_000:])
        seconds = _seconds(body)
        self.done.append(request.url.path)
        said: dict[str, Any] = {"model": model, "text": "The quick brown fox.", "language": form.get("language")}
        said["segments"] = (
            [{"type": "transcription_segment", "text": "The quick brown fox.", "start": 0.0, "end": seconds}]
            if timed
            else []
        )
        if "silent" not in words:
            counts = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, "request_count": 1}
            said["usage"] = {"prompt_audio_seconds": round(seconds), **counts}
        return reply(said)

    async def _speak(self, request: Request) -> Response:
        fields = _json(await request.body())
        if (refused := _key_refusal(request)) is not None:
            return refused
        if not isinstance(fields, dict) or not fields.get("input"):
            return _refused(422, "input is required", "input")
        if (wrong := _model_refusal(fields.get("model"))) is not None:
            return wrong
        if not fields.get("voice_id") and not fields.get("ref_audio"):
            return _refused(400, "voice_id or ref_audio is required", "voice_id")
        if fields.get("response_format", "mp3") not in FORMATS:
            return _refused(422, "response_format", "response_format")
        self.done.append(request.url.path)
        words = words_in(str(fields["input"]))
        sound = b"" if "nothing" in words else media.wav(1.0, str(fields["voice_id"]))
        return reply({"audio_data": b64encode(sound).decode()})

    async def _read(self, request: Request) -> Response:
        raw = await request.body()
        fields = _json(raw)
        if (refused := _key_refusal(request)) is not None:
            return refused
        if not isinstance(fields, dict) or not isinstance(document := fields.get("document"), dict):
            return _refused(422, "document is required", "document")
        if (wrong := _model_refusal(fields.get("model"))) is not None:
            return wrong
        kind = document.get("type")
        if kind not in ("document_url", "image_url") or not document.get(kind):
            return _refused(422, "document.type", "document")
        words = words_in(self.words_of(request, raw))
        count = min(int(words.get("pages", 2)), MAX_PROCESSED)
        asked = fields.get("pages")
        numbers = [n for n in asked if n < count] if isinstance(asked, list) else list(range(count))
        self.done.append(request.url.path)
        pages: list[dict[str, Any]] = [
            {"index": n, "markdown": f"# Page {n + 1}\n\nAs it is written.", "images": [],
             "dimensions": {"dpi": 200, "height": 2200, "width": 1700}}
            for n in numbers
        ]  # fmt: skip
        said: dict[str, Any] = {"pages": pages, "model": fields["model"], "document_annotation": None}
        if "silent" not in words:
            said["usage_info"] = {"pages_processed": len(pages), "doc_size_bytes": len(raw)}
        return reply(said)

    async def _models(self, request: Request) -> Response:
        listed = [{"id": model, "object": "model", "owned_by": "mistralai"} for model in MODELS]
        return _key_refusal(request) or reply({"object": "list", "data": listed})


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


def _seconds(body: bytes) -> float:
    try:
        with wave.open(io.BytesIO(body)) as file:
            return float(file.getnframes() / file.getframerate())
    except (wave.Error, EOFError):
        return 1.0


def _model_refusal(model: Any) -> Response | None:
    known = isinstance(model, str) and model.partition("@")[0] in MODELS
    return None if known else _refused(404, f"Invalid model: {model}", "model", "1500")


def _key_refusal(request: Request) -> Response | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not key or key.startswith("unknown"):
        return reply({"message": "Unauthorized", "request_id": "sandbox"}, 401)
    return _refused(402, "Payment required") if key.startswith("empty") else None


def _refused(status: int, message: str, param: str | None = None, code: str | None = None) -> Response:
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    return reply({"object": "error", "message": message, "type": kind, "param": param, "code": code}, status)
