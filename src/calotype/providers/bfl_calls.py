"""How a call to Black Forest Labs is written: its hosts, and the body of a submit (`wire/providers.md §2, §4.1`)."""

import re
from typing import Any

from yarl import URL

BASE_URL = "https://api.bfl.ai"
BASE_URLS = {"bfl": BASE_URL, "bfl-eu": "https://api.eu.bfl.ai", "bfl-us": "https://api.us.bfl.ai"}
"""Base URL by instance name, where the settings say none; the global host promises no region."""
DOMAIN = "bfl.ai"
SEEDS = 2**32
USUAL_SIDE = 1024


def bodies(fields: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the bodies that make so many pictures: the API makes one at a time, and each gets a seed of its own."""
    body = _body(fields)
    seed = body.get("seed")
    if not isinstance(seed, int):
        return [body] * count
    return [{**body, "seed": (seed + n) % SEEDS} for n in range(count)]


def base_of(name: str, base_url: str | None) -> URL:
    """Return the base URL of an instance.

    Raises:
        ValueError: it cannot be used.

    """
    text = (base_url or BASE_URLS.get(name, BASE_URL)).strip().rstrip("/").removesuffix("/v1")
    try:
        url = URL(text)
        usable = url.scheme in ("http", "https") and url.host and not url.raw_user and not url.raw_query_string
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"providers.{name}.base_url must be like {BASE_URL}, without a user name or a query")
    return url


def is_theirs(url: URL) -> bool:
    """Say whether an address is one of Black Forest Labs' own hosts."""
    return url.host == DOMAIN or (url.host or "").endswith(f".{DOMAIN}")


def may_poll(base: URL, url: Any) -> bool:
    """Say whether our key may go to a polling address (§4.2).

    Beside the real API it may be any of its hosts, over HTTPS; beside a server of the operator's any port of that host,
    and never plain HTTP beside HTTPS.
    """
    try:
        there = URL(url) if isinstance(url, str) else URL()
        port = there.port
    except ValueError:
        return False
    if there.raw_user or port is None:
        return False
    if is_theirs(base):
        return there.scheme == "https" and port == 443 and is_theirs(there)
    return there.host == base.host and there.scheme in ("https", base.scheme)


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None or name == "n":
            continue
        if name == "size":
            if size := re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(value)):
                body |= {"width": int(size[1]), "height": int(size[2])}
            elif not fields.get("input_image"):  # without a picture to follow, the usual size is one megapixel
                body |= {"width": USUAL_SIDE, "height": USUAL_SIDE}
        elif isinstance(value, list):
            body |= {name if n == 0 else f"{name}_{n + 1}": _plain(item) for n, item in enumerate(value)}
        else:
            body[name] = _plain(value)
    return body


def _plain(value: Any) -> Any:
    """Write a data URI as bare Base64."""
    if isinstance(value, str) and value.startswith("data:") and ";base64," in value[:100]:
        return value.partition(",")[2]
    return value
