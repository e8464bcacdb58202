"""Azure's speech and document services as their clients see them: one resource at `/ch`, `/eu` and `/us` each.

Keys: `unknown…` is refused, `empty…` is out of quota. Words beside every fault, in a text or a file: `@nothing`
delivers nothing, `@pages=3` is how many pages a document has, `@polls=2` how often it is still being read,
`@unreadable`, `@elsewhere` names an operation of another host.
"""

import io
import re
import wave
from typing import Any, ClassVar

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.kernel.ids import uuid7
from calotype.sandbox import media
from calotype.sandbox.base import Emulator, reply
from calotype.sandbox.faults import Fault, words_in

PLACES = ("/ch", "/eu", "/us")
KEY = "ocp-apim-subscription-key"
_VOICE = re.compile(r'<voice name="([a-z]{2,3}-[A-Za-z0-9:-]+)"')
_PAGES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")


class Azure(Emulator):
    """Three resources, one in each region."""

    name = "azure"
    hosts: ClassVar = {
        "switzerlandnorth.api.cognitive.microsoft.com": "/ch",
        "westeurope.api.cognitive.microsoft.com": "/eu",
        "eastus.api.cognitive.microsoft.com": "/us",
        "switzerlandnorth.tts.speech.microsoft.com": "/ch/tts",
        "westeurope.tts.speech.microsoft.com": "/eu/tts",
        "eastus.tts.speech.microsoft.com": "/us/tts",
    }

    def __init__(self) -> None:
        self.done: list[str] = []
        """Paid work, by its path."""
        self.readings: dict[str, dict[str, Any]] = {}
        super().__init__()

    def routes(self) -> list[Route]:
        """Return every address."""
        found: list[Route] = []
        for place in PLACES:
            documents = f"{place}/documentintelligence"
            found += [
                self.route(f"{place}/speechtotext/transcriptions:transcribe", "submit", self._transcribe),
                self.route(f"{place}/tts/cognitiveservices/v1", "submit", self._speak),
                self.route(f"{place}/tts/cognitiveservices/voices/list", "voices", self._voices, "GET"),
                self.route(f"{documents}/documentModels/{{model}}:analyze", "submit", self._analyze),
                self.route(f"{documents}/documentModels/{{model}}/analyzeResults/{{id}}", "status", self._look, "GET"),
                self.route(f"{documents}/info", "info", self._info, "GET"),
            ]
        return found

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype's providers `azure-ch`, `azure-eu` and `azure-us` here."""
        variables: dict[str, str] = {}
        for place in PLACES:
            name = f"AZURE_{place[1:].upper()}_API"
            variables |= {f"{name}_KEY": "azure-sandbox", f"{name}_BASE": f"{self.url}{place}"}
        return variables

    def words_of(self, request: Request, body: bytes) -> str:
        """Later requests keep to the words of their submit."""
        reading = self.readings.get(request.path_params.get("id", ""))
        return str(reading["text"]) if reading is not None else body[-4_096:].decode(errors="replace")

    def refusal(self, fault: Fault) -> Response:
        """Word an error as the services do."""
        return _refused(fault.status, "AsYouWished")

    def state(self) -> dict[str, Any]:
        """Tell what was done."""
        return {"done": self.done}

    def reset(self) -> None:
        """Forget it too."""
        super().reset()
        self.done.clear()
        self.readings.clear()

    async def _transcribe(self, request: Request) -> Response:
        form = await request.form()
        audio, definition = form.get("audio"), form.get("definition")
        if (refused := _refusal_of(request, "2024-11-15")) is not None:
            return refused
        if not isinstance(audio, UploadFile):
            return _refused(400, "InvalidArgument", "audio is required")
        text = (await definition.read()).decode() if isinstance(definition, UploadFile) else definition or "{}"
        locales = msgspec.json.decode(text).get("locales", ["en-US"])
        length_ms = round(_seconds(await audio.read()) * 1000)
        self.done.append(request.url.path)
        words = [
            {"text": word, "offsetMilliseconds": n * 100, "durationMilliseconds": 100}
            for n, word in enumerate(("The", "quick", "brown", "fox."))
        ]
        phrase = {"offsetMilliseconds": 0, "durationMilliseconds": length_ms, "text": "The quick brown fox.",
                  "words": words, "locale": locales[0], "confidence": 0.9}  # fmt: skip
        said = {"durationMilliseconds": length_ms, "combinedPhrases": [{"text": phrase["text"]}], "phrases": [phrase]}
        return reply(said)

    async def _speak(self, request: Request) -> Response:
        body = (await request.body()).decode()
        if (refused := _refusal_of(request)) is not None:
            return refused
        if request.headers.get("content-type") != "application/ssml+xml":
            return Response(status_code=415)
        if "x-microsoft-outputformat" not in request.headers or not (voice := _VOICE.search(body)):
            return Response(status_code=400)
        self.done.append(request.url.path)
        sound = b"" if "nothing" in words_in(body) else media.wav(1.0, voice[1])
        return Response(sound, media_type="audio/mpeg")

    async def _analyze(self, request: Request) -> Response:
        body = await request.body()
        if (refused := _refusal_of(request, "2024-11-30")) is not None:
            return refused
        if request.path_params["model"] not in ("prebuilt-read", "prebuilt-layout"):
            return _refused(404, "ModelNotFound")
        pages = request.query_params.get("pages", "")
        if not body or (pages and not _PAGES.fullmatch(pages)):
            return _refused(400, "InvalidRequest")
        text = self.words_of(request, body)
        ident = str(uuid7())
        self.readings[ident] = {"text": text, "looks": 0, "pages": pages}
        self.done.append(request.url.path)
        host = "https://elsewhere.example" if "elsewhere" in words_in(text) else self.url
        path = request.url.path.replace(":analyze", f"/analyzeResults/{ident}")
        return Response(
            status_code=202,
            headers={"operation-location": f"{host}{path}?api-version=2024-11-30", "retry-after": "0.01"},
        )

    async def _look(self, request: Request) -> Response:
        reading = self.readings.get(request.path_params["id"])
        if (refused := _refusal_of(request, "2024-11-30")) is not None:
            return refused
        if reading is None:
            return _refused(404, "NotFound")
        words = words_in(reading["text"])
        reading["looks"] += 1
        if reading["looks"] <= int(words.get("polls", 1)):
            return reply({"status": "running"}, headers={"retry-after": "0.01"})
        if "unreadable" in words:
            return reply({"status": "failed", "error": {"code": "InvalidContent", "message": "As you wished"}})
        asked = [int(number) for number in reading["pages"].split(",") if number.isdecimal()]
        numbers = asked or list(range(1, int(words.get("pages", 2)) + 1))
        texts = [f"Seite {number}: wie geschrieben." for number in numbers]
        offset, pages = 0, []
        for number, text in zip(numbers, texts, strict=True):
            pages.append({"pageNumber": number, "spans": [{"offset": offset, "length": len(text)}], "lines": []})
            offset += len(text) + 1
        result = {"apiVersion": "2024-11-30", "modelId": request.path_params["model"], "content": "\n".join(texts),
                  "pages": pages}  # fmt: skip
        return reply({"status": "succeeded", "analyzeResult": result})

    async def _voices(self, request: Request) -> Response:
        return _refusal_of(request) or reply([{"ShortName": "en-US-AvaMultilingualNeural", "Locale": "en-US"}])

    async def _info(self, request: Request) -> Response:
        return _refusal_of(request) or reply({"customDocumentModels": {"count": 0, "limit": 500}})


def _seconds(body: bytes) -> float:
    try:
        with wave.open(io.BytesIO(body)) as file:
            return float(file.getnframes() / file.getframerate())
    except (wave.Error, EOFError):
        return 1.0


def _refusal_of(request: Request, version: str | None = None) -> Response | None:
    key = request.headers.get(KEY, "")
    if not key or key.startswith("unknown"):
        return _refused(401, "401", "Access denied due to invalid subscription key or wrong API endpoint.")
    if key.startswith("empty"):
        return _refused(403, "QuotaExceeded")
    if version is not None and request.query_params.get("api-version") != version:
        return _refused(404, "404", "Resource not found")
    return None


def _refused(status: int, code: str, message: str = "As you wished") -> Response:
    return reply({"error": {"code": code, "message": message}}, status)
