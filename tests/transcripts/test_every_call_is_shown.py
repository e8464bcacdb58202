"""Every call that the published descriptions name, and every call that this server documents, has a transcript."""

import re
from functools import cache

import pytest
from transcript_blocks import PAGES, pages, read

from calotype.dialects.endpoints import Endpoint
from calotype.dialects.openai.not_offered import NOT_OFFERED
from calotype.openapi import ENDPOINTS

PUBLISHED = [line.split() for line in (PAGES / "published.txt").read_text().splitlines() if not line.startswith("#")]


@cache
def shown() -> frozenset[tuple[str, str]]:
    return frozenset(call for page in pages() for block in read(page) for call in block.calls)


def has(method: str, path: str) -> bool:
    """Say whether a call is in a transcript; the name of a model may hold slashes."""
    wild = re.sub(r"\\\{model\\\}", r".+", re.escape(path))
    rule = re.compile(re.sub(r"\\\{\w+\\\}", r"[^/]+", wild))
    return any(one == method and rule.fullmatch(asked) for one, asked in shown())


@pytest.mark.parametrize(("section", "method", "path"), PUBLISHED, ids=lambda word: word)
def test_a_published_call_has_a_transcript(section: str, method: str, path: str) -> None:
    assert has(method, path)


@pytest.mark.parametrize("one", ENDPOINTS, ids=lambda one: one.name)
def test_a_documented_call_has_a_transcript(one: Endpoint) -> None:
    assert has(one.method, one.path)


@pytest.mark.parametrize("path", NOT_OFFERED)
def test_a_call_that_is_refused_by_name_has_a_transcript(path: str) -> None:
    assert has("POST", f"/v1{path}")
