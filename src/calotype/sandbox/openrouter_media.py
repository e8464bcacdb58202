"""Pictures and videos of the emulated OpenRouter (`wire/providers.md §6.2, §6.3`).

Words in the prompt: `@fails` for a video that fails, `@flagged` for one that the policy stops, `@unsigned` for
addresses that want the key, `@stuck` for a status that nobody has written down.
"""

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.kernel.ids import uuid7
from calotype.sandbox import media
from calotype.sandbox.base import reply
from calotype.sandbox.faults import words_in
from calotype.sandbox.openrouter_errors import fields_of, refusal_of, refused

if TYPE_CHECKING:
    from calotype.sandbox.openrouter import OpenRouter

PRICES = {"image": 0.04, "second": 0.1}
"""USD for one picture and for one second of video."""
MAX_N = 10


def pictures(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request for pictures, as base64 with their kind."""
    width, cross, height = str(fields.get("size") or "512x512").partition("x")
    side = (int(width), int(height)) if cross and width.isdecimal() and height.isdecimal() else (512, 512)
    count = min(MAX_N, int(fields.get("n") or 1))
    made = [media.png(*side, f"{fields['prompt']}-{n}") for n in range(count)]
    data = [{"b64_json": b64encode(picture).decode(), "media_type": "image/png"} for picture in made]
    usage = {"prompt_tokens": 10, "completion_tokens": 1_000 * count, "cost": round(PRICES["image"] * count, 6)}
    return {"created": 1_795_000_000, "data": data, "usage": usage}


class Work(Struct):
    """One video: its length, the words of its prompt, and how often it was looked at."""

    seconds: float
    words: dict[str, str]
    polls: int = 0


class Media:
    """The videos of one account and the addresses where they are fetched."""

    def __init__(self, account: "OpenRouter") -> None:
        self.works: dict[str, Work] = {}
        self._account = account

    def routes(self, base: str) -> list[Route]:
        """Return the addresses of videos and files."""
        make = self._account.route
        return [
            make(f"{base}/videos", "submit", self._start),
            make(f"{base}/videos/{{id}}", "status", self._status, "GET"),
            make(f"{base}/videos/{{id}}/content", "file", self._content, "GET"),
            make("/signed/{id}.mp4", "file", self._signed, "GET"),
        ]

    def reset(self) -> None:
        """Forget the videos."""
        self.works.clear()

    async def _start(self, request: Request) -> Response:
        fields = await fields_of(request)
        if fields is None or not isinstance(fields.get("prompt"), str):
            return refused(400)
        words = words_in(fields["prompt"])
        if (refusal := refusal_of(request, fields, words)) is not None:
            return refusal
        ident = f"gen-vid-{uuid7()}"
        self.works[ident] = Work(float(fields.get("duration") or 5), words)
        return reply(self._object(ident, "pending"), 202)

    async def _status(self, request: Request) -> Response:
        ident = request.path_params["id"]
        work = self.works.get(ident)
        if work is None:
            return refused(404)
        work.polls += 1
        if work.polls <= self._account.settings["polls"]:
            stuck = "stuck" in work.words
            return reply(self._object(ident, "thinking" if stuck else "pending" if work.polls == 1 else "in_progress"))
        if "fails" in work.words:
            return reply({**self._object(ident, "failed"), "error": "The host broke off."})
        if "flagged" in work.words:
            error = {"code": "content_policy_violation", "message": "Flagged."}
            return reply({**self._object(ident, "failed"), "error": error})
        usd = PRICES["second"] * work.seconds
        self._account.bills.setdefault(ident, usd)
        done = self._object(ident, "completed") | {"usage": {"cost": round(usd, 6), "is_byok": False}}
        content = f"{self._account.url}/api/v1/videos/{ident}/content?index=0"
        return reply(
            done | ({"unsigned_urls": [content]} if "unsigned" in work.words else {"urls": [self._address(ident)]})
        )

    async def _content(self, request: Request) -> Response:
        key = request.headers.get("authorization", "")
        return self._film(request.path_params["id"]) if key.startswith("Bearer sk-or-") else refused(401)

    async def _signed(self, request: Request) -> Response:
        """Serve a film to whoever has its address, and to nobody who shows a key there."""
        return refused(400) if "authorization" in request.headers else self._film(request.path_params["id"])

    def _film(self, ident: str) -> Response:
        work = self.works.get(ident)
        if work is None:
            return refused(404)
        return Response(media.mp4(work.seconds, name=ident), media_type="video/mp4")

    def _address(self, ident: str) -> str:
        return f"{self._account.url}/signed/{ident}.mp4?signature=sandbox"

    def _object(self, ident: str, status: str) -> dict[str, Any]:
        return {"id": ident, "polling_url": f"{self._account.url}/api/v1/videos/{ident}", "status": status}
