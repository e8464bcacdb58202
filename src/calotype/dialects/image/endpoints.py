"""The endpoints of the image dialect, as they are documented."""

from typing import Any

from calotype.dialects.endpoints import Endpoint, Parameter
from calotype.dialects.image import shapes
from calotype.dialects.image.keys import KeyChange, NewKey
from calotype.dialects.image.offers import FROM_PICTURES, VIDEO_OPERATIONS
from calotype.dialects.image.requests import SimpleEditRequest, SimpleFilmRequest, SimpleImageRequest
from calotype.kernel.generation import Operation

GROUP = "Simple images"
_TEXT: dict[str, Any] = {"type": "string"}
_MAKES = (400, 402, 403, 404, 410, 413, 415, 422, 429, 501, 502, 503, 504)
_STRICT = "Waits for the picture. A parameter that the model does not take is refused unless `strict` is false."
_EFFORT = (
    "`fallback`, `retries` (2, at most 5) and `timeout` (ms, 60000, at most 300000) also work as X-Fallback, X-Retries"
    " and X-Timeout. X-Cache-TTL (seconds, at most 86400) lets the same request be answered from before, at no charge;"
    " X-Cache: no-cache makes it anew."
)
_ID = Parameter("id", "The key's id.", _TEXT, "path")

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST", "/api/v1/image/generate", GROUP, "Generate an image",
        f"{_STRICT} {_EFFORT}",
        answer=shapes.ImageAnswer, body=SimpleImageRequest, operations=(Operation.TEXT_TO_IMAGE,), errors=_MAKES,
        error=shapes.ImageError,
        example={"model": "local/sketch", "prompt": "a lighthouse on a cliff at sunset", "width": 512, "height": 512},
    ),
    Endpoint(
        "POST", "/api/v1/image/edit", GROUP, "Edit an image", f"Waits for the picture. {_EFFORT}",
        answer=shapes.ImageAnswer, body=SimpleEditRequest, operations=FROM_PICTURES, errors=_MAKES,
        error=shapes.ImageError,
    ),
    Endpoint(
        "POST", "/api/v1/video/generate", GROUP, "Generate a film",
        "Answers at once where the film is polled; a picture leads `kling-3-pro` and `wan-2.6` to their `-i2v` models.",
        answer=shapes.ImageFilmAnswer, status=202, body=SimpleFilmRequest, operations=tuple(sorted(VIDEO_OPERATIONS)),
        errors=_MAKES, error=shapes.ImageError,
        example={"model": "local/sketch-video", "prompt": "waves rolling towards a beach"},
    ),
    Endpoint(
        "GET", "/api/v1/video/status", GROUP, "Look at a film", "Polls are never refused for their number.",
        answer=shapes.ImageFilmAnswer, errors=(400, 404), error=shapes.ImageError,
        parameters=(
            Parameter("operation_id", "What the creating call answered.", _TEXT),
            Parameter("provider", "The same call's provider.", _TEXT),
        ),
    ),
    Endpoint(
        "GET", "/api/v1/image/models", GROUP, "Models of images and films", "Whose they are, what they take and cost.",
        answer=shapes.ImageModels, error=shapes.ImageError,
    ),
    Endpoint(
        "GET", "/api/v1/keys", GROUP, "List keys", "With a key of scope ADMIN.", answer=shapes.ImageKeys,
        errors=(403, 429), error=shapes.ImageError,
    ),
    Endpoint(
        "POST", "/api/v1/keys", GROUP, "Make a key", "With a key of scope ADMIN, whose class and bounds it has.",
        answer=shapes.ImageNewKeyAnswer, status=201, errors=(400, 403, 413, 415, 429), error=shapes.ImageError,
        plain=True,
        body=NewKey,
    ),
    Endpoint(
        "GET", "/api/v1/keys/{id}", GROUP, "Look at a key", "With a key of scope ADMIN.", answer=shapes.ImageKeyAnswer,
        parameters=(_ID,), errors=(403, 404, 429), error=shapes.ImageError,
    ),
    Endpoint(
        "PATCH", "/api/v1/keys/{id}", GROUP, "Change a key", "Its name, its rate, and whether it is switched on.",
        answer=shapes.ImageKeyAnswer, parameters=(_ID,), errors=(400, 403, 404, 413, 415, 429), body=KeyChange,
        plain=True,
        error=shapes.ImageError,
    ),
    Endpoint(
        "DELETE", "/api/v1/keys/{id}", GROUP, "Revoke a key", "For good.", status=204, parameters=(_ID,),
        errors=(403, 404, 429), error=shapes.ImageError,
    ),
    Endpoint(
        "GET", "/api/v1/usage", GROUP, "Usage", "Of this key; with a key of scope ADMIN of the whole organisation.",
        answer=shapes.ImageUsageAnswer, errors=(400, 403), error=shapes.ImageError,
        parameters=(
            Parameter("from", "A date or time; 30 days before `to` where it is left out.", _TEXT),
            Parameter("to", "A date or time; now where it is left out.", _TEXT),
            Parameter("group_by", "model, key, dialect, operation, customer, day, or tag:NAME.", _TEXT),
        ),
    ),
    Endpoint(
        "GET", "/api/health", GROUP, "Health", "Whether the server works, without a key.", answer=shapes.ImageHealth,
        public=True, errors=(429, 503), error=shapes.ImageError,
    ),
)  # fmt: skip
