"""What is sold here, as data: one entry for each page of the catalogue (`wire/products.md C1, C2`)."""

from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

from calotype.catalog.schema import InputSchema
from calotype.dialects.content import compose
from calotype.kernel.generation import Operation

Answer = Literal["assets", "job", "matches"]

RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4")
_PROMPT = {"type": "string", "minLength": 1, "maxLength": 2000, "description": "What to make, in words."}
_RATIO = {"type": "string", "enum": list(RATIOS), "default": "1:1", "description": "Width to height."}
_SIZE = {
    "type": "string",
    "enum": ["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"],
    "default": "square_hd",
    "description": "The format; it wins over aspectRatio.",
}  # fmt: skip
_URL = {"type": "string", "format": "uri", "minLength": 1, "description": "A public URL of a picture."}
_FILM_RATIO = {
    "type": "string", "enum": ["16:9", "9:16", "1:1"], "default": "9:16", "description": "Width to height.",
}  # fmt: skip
_FIVE = {"type": "integer", "enum": [5], "default": 5, "description": "Seconds; only 5."}


class Entry(Struct, frozen=True):
    """One thing that is sold; its slug is the id of its card.

    `per_minute` bounds one key's requests, `cache_s` says how long an answer may be kept by anybody. `asked` turns an
    input into the card's fields, `named` turns a field's name back. `prefix` begins the ids of requests.
    """

    slug: str
    title: str
    description: str
    method: str
    route: str
    per_minute: int
    tags: tuple[str, ...]
    input: dict[str, Any]
    example: dict[str, Any]
    answers: Answer
    category: str = "Content"
    cache_s: int | None = None
    operation: Operation | None = None
    model_class: str = ""
    prefix: str = ""
    count: int | None = None
    asked: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] = compose.nothing
    named: Callable[[str], str] = compose.name_of

    @property
    def schema(self) -> InputSchema:
        """The input's schema, compiled."""
        found = _SCHEMAS.get(self.slug)
        if found is None:
            found = _SCHEMAS[self.slug] = InputSchema(self.input)
        return found

    @property
    def cache(self) -> str:
        """How the catalogue says how long an answer may be kept."""
        return "No cache" if self.cache_s is None else f"{self.cache_s}s public"


_SCHEMAS: dict[str, InputSchema] = {}


def _object(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "additionalProperties": False, "required": list(required), "properties": properties,
    }  # fmt: skip


ENTRIES: tuple[Entry, ...] = (
    Entry(
        slug="content-image-generate", title="Image Generate", description="One picture made of a prompt.",
        method="POST", route="/v1/content/images/generate", per_minute=10, tags=("content", "image", "generate"),
        input=_object(("prompt",), prompt=_PROMPT, aspectRatio=_RATIO, imageSize=_SIZE),
        example={"prompt": "a ceramic mug on a wooden table in soft light", "aspectRatio": "1:1"},
        answers="assets", operation=Operation.TEXT_TO_IMAGE, model_class="fast-image", prefix="content-img",
        asked=compose.picture,
    ),
    Entry(
        slug="content-image-fast-pack", title="Image Fast Pack", description="Four pictures made of one prompt.",
        method="POST", route="/v1/content/images/fast-pack", per_minute=8, tags=("content", "image", "pack"),
        input=_object(
            ("prompt",), prompt=_PROMPT, aspectRatio=_RATIO, imageSize=_SIZE,
            style={"type": "string", "enum": list(compose.STYLES), "default": "neutral", "description": "The manner."},
        ),
        example={"prompt": "a ceramic mug on a wooden table", "style": "product"},
        answers="assets", operation=Operation.TEXT_TO_IMAGE, model_class="fast-image-pack", prefix="content-imgpack",
        count=4, asked=compose.pack,
    ),
    Entry(
        slug="content-image-edit", title="Image Edit",
        description="One picture made of one to four others and a prompt.",
        method="POST", route="/v1/content/images/edit", per_minute=10, tags=("content", "image", "edit"),
        input=_object(
            ("prompt", "imageUrls"), prompt=_PROMPT,
            imageUrls={"type": "array", "minItems": 1, "maxItems": 4, "items": _URL, "description": "The pictures."},
            aspectRatio=_RATIO,
        ),
        example={"prompt": "make it winter", "imageUrls": ["https://example.com/picture.png"]},
        answers="assets", operation=Operation.IMAGE_TO_IMAGE, model_class="standard-image-edit",
        prefix="content-edit", asked=compose.edit,
    ),
    Entry(
        slug="content-image-listing-upgrade-pack", title="Listing Upgrade Pack",
        description="Four pictures for a shop, made of a picture of the product and up to nine references.",
        method="POST", route="/v1/content/images/listing-upgrade-pack", per_minute=6,
        tags=("content", "image", "listing", "pack", "product"),
        input=_object(
            ("productImageUrl",), productImageUrl=_URL,
            productName={"type": "string", "maxLength": 120, "description": "What it is called."},
            prompt={"type": "string", "maxLength": 1500, "description": "What the pictures should show."},
            marketplace={
                "type": "string", "enum": list(compose.MARKETPLACES), "default": "generic",
                "description": "Where it is sold.",
            },
            aspectRatio=_RATIO,
            referenceImageUrls={"type": "array", "maxItems": 9, "items": _URL, "description": "Further pictures."},
        ),
        example={"productImageUrl": "https://example.com/mug.png", "productName": "Mug", "marketplace": "etsy"},
        answers="assets", operation=Operation.IMAGE_TO_IMAGE, model_class="listing-image-pack",
        prefix="content-listing", count=4, asked=compose.listing,
        named=compose.name_in_listing,
    ),
    Entry(
        slug="content-video-text-basic", title="Text to Video Basic", description="Five seconds of film from a prompt.",
        method="POST", route="/v1/content/videos/text-to-video/basic-5s", per_minute=4,
        tags=("content", "video", "text"),
        input=_object(("prompt",), prompt=_PROMPT, aspectRatio=_FILM_RATIO, duration=_FIVE),
        example={"prompt": "waves rolling towards a beach", "aspectRatio": "16:9"},
        answers="job", operation=Operation.TEXT_TO_VIDEO, model_class="basic-video", prefix="content-vid",
        asked=compose.film,
    ),
    Entry(
        slug="content-video-image-basic", title="Image to Video Basic",
        description="Five seconds of film from a picture and a prompt.",
        method="POST", route="/v1/content/videos/image-to-video/basic-5s", per_minute=4,
        tags=("content", "video", "image"),
        input=_object(("prompt", "imageUrl"), prompt=_PROMPT, imageUrl=_URL, aspectRatio=_FILM_RATIO, duration=_FIVE),
        example={"prompt": "the waves roll in", "imageUrl": "https://example.com/picture.png"},
        answers="job", operation=Operation.IMAGE_TO_VIDEO, model_class="basic-video", prefix="content-vid",
        asked=compose.film,
    ),
    Entry(
        slug="content-video-product-motion", title="Product Motion",
        description="Five seconds in which a product moves in one of eight ways.",
        method="POST", route="/v1/content/videos/product-motion-5s", per_minute=3,
        tags=("content", "video", "product", "motion"),
        input=_object(
            ("imageUrl",), imageUrl=_URL,
            platform={
                "type": "string", "enum": ["tiktok", "instagram", "youtube-shorts", "amazon", "shopify", "generic"],
                "default": "generic", "description": "Where it will be shown; kept with the job as the tag platform.",
            },
            aspectRatio={
                "type": "string", "enum": ["16:9", "9:16"], "default": "9:16", "description": "Width to height.",
            },
            motionStyle={
                "type": "string", "enum": list(compose.MOTIONS), "default": "product-rise",
                "description": "How it moves.",
            },
        ),
        example={"imageUrl": "https://example.com/mug.png", "motionStyle": "orbit"},
        answers="job", operation=Operation.IMAGE_TO_VIDEO, model_class="product-motion-video", prefix="content-motion",
        asked=compose.motion,
    ),
    Entry(
        slug="meta-search", title="Search", description="Finds what is sold here by words.",
        method="GET", route="/v1/search", per_minute=60, cache_s=60, tags=("meta", "search", "catalog"),
        input=_object(
            ("q",), q={"type": "string", "minLength": 1, "maxLength": 500, "description": "Words to look for."},
            limit={"type": "integer", "minimum": 1, "maximum": 25, "default": 10, "description": "The most matches."},
        ),
        example={"q": "product video", "limit": 5}, answers="matches", category="Meta",
    ),
)  # fmt: skip
BY_SLUG = {entry.slug: entry for entry in ENTRIES}
BY_ROUTE = {entry.route: entry for entry in ENTRIES}
