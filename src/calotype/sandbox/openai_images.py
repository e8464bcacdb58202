"""OpenAI's images API as its clients see it (`wire/providers.md §7.2, §7.5`): generations, edits, the list of models.

Keys: `sk-…` work, `sk-unknown…` is refused, `sk-empty…` has no credit. Words beside every fault: `@moderated`,
`@code=insufficient_quota` for a refusal with that code, `@url` for addresses in place of base64. A request with an
idempotency key that was seen is answered again and not done again.
"""

import time
from base64 import b64encode
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

MODELS = ("gpt-image-2", "gpt-image-2-mini")
CODES: dict[str, tuple[int, str, str]] = {
    "moderation_blocked": (400, "image_generation_user_error", "Your request was rejected by the safety system."),
    "content_filter": (400, "invalid_request_error", "The answer was filtered by the content policy."),
    "content_policy_violation": (400, "invalid_request_error", "Your request was rejected by the content policy."),
    "invalid_api_key": (401, "invalid_request_error", "Incorrect API key provided."),
    "model_not_found": (404, "invalid_request_error", "The model does not exist or you do not have access to it."),
    "insufficient_quota": (429, "insufficient_quota", "You exceeded your current quota."),
    "billing_hard_limit_reached": (400, "invalid_request_error", "Billing hard limit has been reached."),
    "rate_limit_exceeded": (429, "requests", "Rate limit reached for images."),
    "unsupported_parameter": (400, "invalid_request_error", "Unsupported parameter."),
    "server_error": (500, "server_error", "The server had an error while processing your request."),
}
"""Code → status, type and message."""
OF_STATUS = {400: "unsupported_parameter", 401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
MAX_N, MAX_IMAGES, MAX_PROMPT = 10, 16, 32_000
DEFAULT_SIZE = (1024, 1024)
TEXT_TOKENS_PER_WORD = 2
IMAGE_TOKENS = {"low": 210, "medium": 1_800, "high": 7_200, "auto": 1_800}


class OpenAIImages(Emulator):
    """The images endpoints of one account."""

    name = "openai"
    hosts: ClassVar = {"api.openai.com": ""}

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.done: dict[str, dict[str, Any]] = {}
        """Answers by idempotency key, or by a name of their own without one: what is billed."""
        super().__init__()

    def routes(self) -> list[Route]:
        """Return every address."""
        return [
            self.route("/v1/images/generations", "submit", self._generate),
            self.route("/v1/images/edits", "submit", self._edit),
            self.route("/v1/models", "models", self._models, "GET"),
            self.route("/files/{name}", "file", self._file, "GET"),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype's provider `openai` here."""
        return {"OPENAI_API_KEY": "sk-sandbox", "OPENAI_BASE_URL": f"{self.url}/v1"}

    def words_of(self, request: Request, body: bytes) -> str:
        """Files keep to the words of their request."""
        return (
            request.query_params.get("words", "") if "name" in request.path_params else super().words_of(request, body)
        )

    def refusal(self, fault: Fault) -> Response:
        """Word an error of this status as the API does."""
        return refused(OF_STATUS.get(fault.status, "server_error"), status=fault.status)

    def state(self) -> dict[str, Any]:
        """Tell how many requests were done and are billed."""
        return {"done": len(self.done), "files": len(self.files)}

    def reset(self) -> None:
        """Forget answers and files too."""
        super().reset()
        self.done.clear()
        self.files.clear()

    async def _generate(self, request: Request) -> Response:
        try:
            fields = msgspec.json.decode(await request.body(), type=dict[str, Any])
        except msgspec.MsgspecError:
            return refused("unsupported_parameter", "We could not parse the JSON body of your request.")
        return self._pictures(request, fields, images=0)

    async def _edit(self, request: Request) -> Response:
        form = await request.form()
        files = [
            value
            for name, value in form.multi_items()
            if name in ("image", "image[]") and isinstance(value, UploadFile)
        ]
        if not 1 <= len(files) <= MAX_IMAGES:
            return refused("unsupported_parameter", f"From 1 to {MAX_IMAGES} images are required.", param="image")
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        return self._pictures(request, fields, images=len(files))

    def _pictures(self, request: Request, fields: dict[str, Any], images: int) -> Response:
        prompt = fields.get("prompt")
        words = words_in(f"{fields.get('model')} {prompt}")
        if (unkeyed := key_refusal(request)) is not None:
            return unkeyed
        if code := "moderation_blocked" if "moderated" in words else words.get("code"):
            return refused(code)
        if not isinstance(prompt, str) or not 1 <= len(prompt) <= MAX_PROMPT:
            return refused("unsupported_parameter", f"prompt must have 1 to {MAX_PROMPT} characters.", param="prompt")
        if str(fields.get("model")).partition("@")[0] not in MODELS:
            return refused("model_not_found", param="model")
        try:
            count = int(fields.get("n") or 1)
        except ValueError:
            count = 0
        size = _size(str(fields.get("size") or "auto"))
        if not 1 <= count <= MAX_N or size is None:
            return refused("unsupported_parameter", "Invalid value.", param="n" if size else "size")
        key = request.headers.get("idempotency-key") or str(uuid7())
        if key not in self.done:
            self.done[key] = self._body(key, fields, count, size, images, in_urls="url" in words)
        return reply(self.done[key], headers={"x-request-id": f"req_{uuid7()}"})

    def _body(
        self, key: str, fields: dict[str, Any], count: int, size: tuple[int, int], images: int, *, in_urls: bool
    ) -> dict[str, Any]:
        data: list[dict[str, Any]] = []
        for n in range(count):
            picture = media.png(*size, f"{key}-{n}")
            if in_urls:
                name = f"{uuid7()}.png"
                self.files[name] = picture
                data.append({"url": f"{self.url}/files/{name}"})
            else:
                data.append({"b64_json": b64encode(picture).decode()})
        quality = str(fields.get("quality") or "auto")
        text = TEXT_TOKENS_PER_WORD * len(str(fields["prompt"]).split())
        shown, made = 300 * images, IMAGE_TOKENS.get(quality, 1_800) * count
        usage = {
            "input_tokens": text + shown, "output_tokens": made, "total_tokens": text + shown + made,
            "input_tokens_details": {"text_tokens": text, "image_tokens": shown},
        }  # fmt: skip
        return {
            "created": int(time.time()), "data": data, "output_format": "png", "quality": quality,
            "size": f"{size[0]}x{size[1]}", "usage": usage,
        }  # fmt: skip

    async def _models(self, request: Request) -> Response:
        listed = [{"id": model, "object": "model", "created": 1_760_000_000, "owned_by": "openai"} for model in MODELS]
        return key_refusal(request) or reply({"object": "list", "data": listed})

    async def _file(self, request: Request) -> Response:
        body = self.files.get(request.path_params["name"])
        return refused("model_not_found", "No such file.") if body is None else Response(body, media_type="image/png")


def _size(text: str) -> tuple[int, int] | None:
    """Read a size; sides are divisible by 16, at most 3840x2160 either way round and 3:1."""
    if text == "auto":
        return DEFAULT_SIZE
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        return None
    short, long = sorted((int(width), int(height)))
    usable = short >= 16 and long <= 3840 and short <= 2160 and long <= 3 * short and not (short % 16 or long % 16)
    return (int(width), int(height)) if usable else None


def key_refusal(request: Request) -> Response | None:
    """Refuse a request without a key that works."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not key.startswith("sk-") or key.startswith("sk-unknown"):
        return refused("invalid_api_key")
    return refused("insufficient_quota") if key.startswith("sk-empty") else None


def refused(code: str, message: str | None = None, *, param: str | None = None, status: int | None = None) -> Response:
    """Word a refusal with this code as the API does."""
    known, kind, words = CODES.get(code, (400, "invalid_request_error", "As you wished."))
    error = {"message": message or words, "type": kind, "param": param, "code": code}
    headers = {"x-request-id": f"req_{uuid7()}"}
    if code == "rate_limit_exceeded":
        headers |= {"x-ratelimit-remaining-requests": "0"}
    return reply({"error": error}, status or known, headers)
