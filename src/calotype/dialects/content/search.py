"""Finds entries of the catalogue by words (`wire/products.md C2`): a sum of where each word was met."""

import re
from collections.abc import Iterable
from typing import Any

from calotype.dialects.content.answers import JSON, encode
from calotype.dialects.content.desk import Desk
from calotype.dialects.content.entries import BY_SLUG, ENTRIES, Entry
from calotype.dialects.door import Exchange
from calotype.kernel.errors import Code, Problem

SEARCH = BY_SLUG["meta-search"]
WEIGHTS = {"slug": 3, "title": 3, "tags": 2, "category": 1, "description": 1}
_WORD = re.compile(r"[a-z0-9]+")
_DROPPED = frozenset({"a", "an", "and", "from", "in", "of", "or", "the", "to", "with"})


async def search(desk: Desk, x: Exchange) -> None:
    """Answer what fits a query best; anybody may ask and keep the answer for a minute."""
    desk.visitor(x, SEARCH)
    query = x.query
    if unknown := sorted(query.keys() - {"q", "limit"}):
        raise Problem(
            Code.INVALID_INPUT, f"{unknown[0][:40]} is not a parameter; use q and limit.", field=unknown[0][:40]
        )
    limit: Any = query.get("limit", "10")
    given = {"limit": int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 10 else limit}
    filled = SEARCH.schema.check(given | ({"q": query["q"]} if "q" in query else {}), SEARCH.slug)
    matches = found(filled["q"])[: filled["limit"]]
    body = {"query": filled["q"], "count": len(matches), "matches": matches}
    await x.answer(200, [JSON, (b"cache-control", b"public, max-age=60")], encode(body))


def found(query: str, entries: Iterable[Entry] = ENTRIES) -> list[dict[str, Any]]:
    """Return the entries that a query fits, the best first; a word that begins another counts half."""
    words = [word for word in dict.fromkeys(_WORD.findall(query.lower())) if word not in _DROPPED]
    rows = []
    for entry in entries:
        places = {
            "slug": entry.slug, "title": entry.title, "tags": " ".join(entry.tags), "category": entry.category,
            "description": entry.description,
        }  # fmt: skip
        score, met = 0.0, []
        for word in words:
            worth = sum(WEIGHTS[place] * _fit(word, text) for place, text in places.items())
            score += worth
            if worth:
                met.append(word)
        if met:
            row = {"slug": entry.slug, "method": entry.method, "path": entry.route, "score": score, "matchedTerms": met}
            rows.append(row)
    return sorted(rows, key=lambda row: (-row["score"], row["slug"]))


def _fit(word: str, text: str) -> float:
    known = _WORD.findall(text.lower())
    if word in known:
        return 1.0
    return 0.5 if len(word) > 2 and any(one.startswith(word) for one in known) else 0.0
