"""How hard a request is tried: models to fall back on, retries, a time limit, and whether an earlier answer will do.

The wishes are fields of a body or headers, for dialects whose bodies are somebody else's (`wire/products.md D4`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from calotype.dialects.door import RawHeaders
from calotype.kernel.errors import Code, Problem

FIELDS = ("fallback", "retries", "timeout")
HEADERS = (b"x-fallback", b"x-retries", b"x-timeout", b"x-cache", b"x-cache-ttl")
NOT_OFFERED = {
    "guardrails": "guardrails are not offered by this server; nothing was checked, so nothing was sent",
    "prompt_id": "stored prompts are not offered by this server; send the prompt itself",
    "prompt_version": "stored prompts are not offered by this server; send the prompt itself",
    "prompt_variables": "stored prompts are not offered by this server; send the prompt itself",
}
"""Fields beside these whose silent loss would do something else than was meant."""
MAX_FALLBACKS = 5
MAX_RETRIES = 5
MAX_TIMEOUT_MS = 300_000
MAX_CACHE_TTL_S = 86_400


class Effort(Struct, frozen=True):
    """What a caller wishes; None leaves it to the server.

    `fallback` are models to try in order where the one asked for cannot deliver. `retries` counts the further rounds
    over a model's routes while none of them takes the request. `timeout_ms` bounds each model's turn. With
    `cache_ttl_s` the answer is kept so long for the same request, and an earlier one is taken unless `fresh`.
    """

    fallback: tuple[str, ...] = ()
    retries: int | None = None
    timeout_ms: int | None = None
    cache_ttl_s: int | None = None
    fresh: bool = False

    @property
    def rounds(self) -> int | None:
        """How often the routes are walked in all."""
        return None if self.retries is None else self.retries + 1


def effort_of(headers: RawHeaders, named: Mapping[str, Any], usual: Effort | None = None) -> Effort:
    """Read the wishes of a request; a field of the body (`named`) wins over its header, `usual` fills what is left out.

    Raises:
        Problem: `invalid_input` naming the field or header and what it takes.

    """
    usual = usual or Effort()
    if headers.get(b"x-guardrails", b"").strip():
        raise not_offered("guardrails", "X-Guardrails")
    fallback = _chosen(named, "fallback", headers, b"x-fallback", _models)
    retries = _chosen(named, "retries", headers, b"x-retries", _whole(0, MAX_RETRIES))
    timeout_ms = _chosen(named, "timeout", headers, b"x-timeout", _whole(1, MAX_TIMEOUT_MS))
    ttl_s = _chosen({}, "", headers, b"x-cache-ttl", _whole(1, MAX_CACHE_TTL_S))
    fresh = headers.get(b"x-cache")
    if fresh is not None and fresh.strip().lower() != b"no-cache":
        sentence = "X-Cache takes no-cache; X-Cache-TTL says for how many seconds an answer may be used again."
        raise Problem(Code.INVALID_INPUT, sentence, field="X-Cache")
    return Effort(
        fallback=usual.fallback if fallback is None else fallback,
        retries=usual.retries if retries is None else retries,
        timeout_ms=usual.timeout_ms if timeout_ms is None else timeout_ms,
        cache_ttl_s=usual.cache_ttl_s if ttl_s is None else ttl_s,
        fresh=fresh is not None,
    )


def not_offered(name: str, field: str | None = None) -> Problem:
    """Return the refusal of a wish that nobody here fulfils; `field` is where it was said."""
    sentence = NOT_OFFERED[name]
    return Problem(Code.INVALID_INPUT, f"{sentence[0].upper()}{sentence[1:]}.", field=field or name)


def idle_headers(headers: RawHeaders) -> tuple[str, ...]:
    """Return warnings about wishes in headers of a call that takes none."""
    return tuple(f"{_shown(name)} has no effect on this call" for name in HEADERS if name in headers)


Reading = Callable[[Any, str], Any]


def _chosen(named: Mapping[str, Any], field: str, headers: RawHeaders, header: bytes, read: Reading) -> Any:
    """Read a wish from the body, else from its header; None where neither has it."""
    if named.get(field) is not None:
        return read(named[field], field)
    raw = headers.get(header)
    return None if raw is None else read(raw.decode("latin-1").strip(), _shown(header))


def _models(given: Any, field: str) -> tuple[str, ...]:
    found = [one.strip() for one in given.split(",") if one.strip()] if isinstance(given, str) else given
    whole = isinstance(found, list) and all(isinstance(one, str) and one for one in found)
    if not whole or len(found) > MAX_FALLBACKS:
        sentence = f"{field} is a list of at most {MAX_FALLBACKS} models."
        raise Problem(Code.INVALID_INPUT, sentence, field=field)
    return tuple(found)


def _whole(least: int, most: int) -> Reading:
    def read(given: Any, field: str) -> int:
        if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 10:
            given = int(given)
        if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
            raise Problem(Code.INVALID_INPUT, f"{field} must be a whole number from {least} to {most}.", field=field)
        return given

    return read


def _shown(header: bytes) -> str:
    """Write a header's name as it is documented."""
    return header.decode().title().replace("Ttl", "TTL")
