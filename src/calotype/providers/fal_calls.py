"""How a call to fal is written: the addresses of its services and the conventions of its inputs (`wire/fal.md §13`)."""

import math
import re
from typing import Any, NamedTuple

from yarl import URL

BASE_URL = "https://queue.fal.run"
UPLOAD_HOSTS = ("fal.media", "fal.ai", "fal.run", "storage.googleapis.com")
"""Where fal lets files be uploaded to; these names and what is below them."""
_FRAMES = re.compile(r"(\w+)@(\d+)(?::(\d+)-(\d+))?")
UNTAKEN = "!"
"""What a route calls a field that its endpoint does not take: a request with it goes to another route."""
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
PRESETS = {
    "1:1": "square_hd",
    "16:9": "landscape_16_9",
    "9:16": "portrait_16_9",
    "4:3": "landscape_4_3",
    "3:4": "portrait_4_3",
}
"""The preset of `image_size` that a ratio stands for (`wire/products.md C3`)."""


def upstream_input(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an input in fal's conventions (§13): nothing that is unset, sizes as width and height.

    A route may name a field `num_frames@16`: its value is seconds and fal wants frames, 16 a second and the first one;
    `num_frames@25:41-721` also keeps within bounds. It wins over a constant `num_frames`. `duration@` is a number that
    fal wants as a text, `aspect_ratio@` a size of which fal wants the nearest ratio. A ratio may stand for an
    `image_size`, which is left out where it is to be found by itself.
    """
    written: dict[str, Any] = {}
    for name, value in sorted(fields.items(), key=lambda item: "@" in item[0]):
        if value is None:
            continue
        if frames := _FRAMES.fullmatch(name):
            count = round(value * int(frames[2])) + 1
            written[frames[1]] = min(max(count, int(frames[3])), int(frames[4])) if frames[3] else count
        elif name == "image_size" and isinstance(value, str) and (size := _SIZE.fullmatch(value)):
            written[name] = {"width": int(size[1]), "height": int(size[2])}
        elif name == "image_size" and isinstance(value, str):
            if value != "auto":
                written[name] = PRESETS.get(value, value)
        elif name == "aspect_ratio@":
            if (size := _SIZE.fullmatch(value)) and "aspect_ratio" not in written:
                written["aspect_ratio"] = _nearest(int(size[1]), int(size[2]))
        elif name.endswith("@"):
            written[name[:-1]] = f"{value:g}"
        else:
            written[name] = value
    return written


def _nearest(width: int, height: int) -> str:
    """Return the ratio nearest to that of a size."""
    sides = {ratio: ratio.split(":") for ratio in PRESETS}
    wanted = math.log(width / height)
    return min(sides, key=lambda ratio: abs(math.log(int(sides[ratio][0]) / int(sides[ratio][1])) - wanted))


class Bases(NamedTuple):
    """The addresses of fal's services: the queue, the storage and the Platform API."""

    queue: str
    rest: str
    platform: str


def bases(name: str, base_url: str) -> Bases:
    """Return the addresses of the services beside that of the queue.

    Raises:
        ValueError: the address is none beside which the others would be known.

    """
    try:
        url = URL(base_url.strip().rstrip("/"))
        host = url.host or ""
        usable = url.scheme in ("http", "https") and host and not url.raw_user and not url.raw_query_string
    except ValueError:
        usable = False
    if usable and url.raw_path.endswith("/queue"):
        base = str(url).removesuffix("/queue")
        return Bases(str(url), f"{base}/rest", f"{base}/platform/v1")
    if usable and host.startswith("queue.") and url.raw_path == "/":
        domain = "fal.ai" if host == "queue.fal.run" else host.removeprefix("queue.")
        rest, api = (str(url.with_host(f"{service}.{domain}")).rstrip("/") for service in ("rest", "api"))
        return Bases(str(url).rstrip("/"), rest, f"{api}/v1")
    raise ValueError(
        f"providers.{name}.base_url must be {BASE_URL}, a URL that ends with /queue, or one of a host queue.<name>"
    )


def may_upload(queue: str, upload_url: Any, file_url: Any) -> bool:
    """Say whether a file may be sent where fal's reply points (`wire/fal.md §7.1`).

    The real fal may name its own hosts only; a server of the operator's any, but no plain HTTP beside HTTPS.
    """
    schemes = ("https://",) if queue.startswith("https://") else ("https://", "http://")
    if not all(isinstance(url, str) and url.startswith(schemes) for url in (upload_url, file_url)):
        return False
    try:
        host = URL(upload_url).host or ""
    except ValueError:
        return False
    return queue != BASE_URL or any(host == name or host.endswith(f".{name}") for name in UPLOAD_HOSTS)


def key_hosts(queue: str, rest: str) -> tuple[str, ...]:
    """Return where the keys that sign webhooks are published (`wire/fal.md §10`); the real fal has two places."""
    return (rest, "https://rest.alpha.fal.ai") if queue == BASE_URL else (rest,)


def run_base(queue: str) -> str:
    """Return the address of direct calls beside a queue: a path that ends with `/run`, or the host without `queue.`."""
    if queue.endswith("/queue"):
        return f"{queue.removesuffix('/queue')}/run"
    return queue.replace("://queue.", "://", 1)
