"""From what a buyer says to the fields of a card; `given` is as it was sent, `filled` has the defaults."""

from typing import Any

SIZE_OF = {
    "1:1": "square_hd", "16:9": "landscape_16_9", "9:16": "portrait_16_9", "4:3": "landscape_4_3",
    "3:4": "portrait_4_3",
}  # fmt: skip
STYLES = {
    "product": "product photography, clean background, studio light",
    "editorial": "editorial photography, natural light",
    "social": "bold and bright, made for social media",
    "neutral": "",
}
MARKETPLACES = ("amazon", "shopify", "etsy", "tiktok-shop", "generic")
MOTIONS = {
    "product-rise": "creatice_product_up", "product-drop": "creatice_product_down", "orbit": "orbit",
    "fast-orbit": "orbit_dolly_fast", "spin": "spin360", "zoom-in": "zoom_in",
    "cybercity-rise": "creatice_product_up_cybercity", "bluecircuit-rise": "creatice_product_up_bluecircuit",
}  # fmt: skip
"""Our words and Vidu's templates, spelled as Vidu spells them."""

Fields = dict[str, Any]


def nothing(given: Fields, filled: Fields) -> Fields:  # noqa: ARG001  (of one shape with its neighbours)
    """Return no fields: no model stands behind it."""
    return {}


def picture(given: Fields, filled: Fields) -> Fields:
    """Return a prompt and a format."""
    return {"prompt": filled["prompt"], "image_size": _size(given, filled)}


def pack(given: Fields, filled: Fields) -> Fields:
    """Return the same with the manner in the prompt."""
    manner = STYLES[filled["style"]]
    prompt = f"{filled['prompt']}, {manner}" if manner else filled["prompt"]
    return {"prompt": prompt, "image_size": _size(given, filled)}


def edit(given: Fields, filled: Fields) -> Fields:
    """Return pictures and what to make of them."""
    return {
        "prompt": filled["prompt"], "image_urls": filled["imageUrls"], "image_size": _size(given, filled),
    }  # fmt: skip


def listing(given: Fields, filled: Fields) -> Fields:
    """Return the product's picture before the references, and a prompt that says what it is for."""
    name = filled.get("productName", "").strip() or "the product"
    place = "" if filled["marketplace"] == "generic" else f" on {filled['marketplace']}"
    wish = filled.get("prompt", "").strip()
    prompt = f"A listing picture of {name}{place}, the product of the first picture unchanged, clean and well lit."
    return {
        "prompt": f"{prompt} {wish}" if wish else prompt,
        "image_urls": [filled["productImageUrl"], *filled.get("referenceImageUrls", ())],
        "image_size": _size(given, filled),
    }


def film(given: Fields, filled: Fields) -> Fields:  # noqa: ARG001
    """Return a prompt, a format and the first picture where there is one."""
    fields = {"prompt": filled["prompt"], "aspect_ratio": filled["aspectRatio"]}
    return fields | {"image_url": filled["imageUrl"]} if "imageUrl" in filled else fields


def motion(given: Fields, filled: Fields) -> Fields:  # noqa: ARG001
    """Return a picture and how it moves."""
    return {
        "image_url": filled["imageUrl"], "template": MOTIONS[filled["motionStyle"]],
        "aspect_ratio": filled["aspectRatio"],
    }  # fmt: skip


def name_of(field: str) -> str:
    """Return what a buyer calls a card's field, which may have an index behind it."""
    head, dot, rest = field.partition(".")
    return f"{_NAMES.get(head, head)}{dot}{rest}"


def name_in_listing(field: str) -> str:
    """Return the same where the first picture is the product's and the others are references."""
    head, _, index = field.partition(".")
    if head != "image_urls" or not index.isdigit():
        return name_of(field)
    return "productImageUrl" if index == "0" else f"referenceImageUrls.{int(index) - 1}"


_NAMES = {
    "image_size": "imageSize", "image_url": "imageUrl", "image_urls": "imageUrls", "aspect_ratio": "aspectRatio",
    "template": "motionStyle",
}  # fmt: skip


def _size(given: Fields, filled: Fields) -> str:
    """Return the format: imageSize where it was sent, else what the proportions mean."""
    if given.get("imageSize") is not None:
        return str(given["imageSize"])
    return SIZE_OF[filled["aspectRatio"]]
