"""What a template of a transcript lets pass, and what it does not."""

import json
from pathlib import Path
from typing import Any

import pytest
from transcript_blocks import read
from transcript_curl import Answer, job_of
from transcript_match import Matcher, MismatchError

UUID = "01a1fa68-673e-7fa9-8796-7a073603a30c"
FITS: list[tuple[Any, Any]] = [
    ({"a": 1}, {"a": 1}),
    ({"a": "<int>", "b?": "<text>"}, {"a": 0}),
    ({"a": "<int>", "...": "<any>"}, {"a": 1, "b": None}),
    (["<int>", "..."], [1, 2, 3]),
    (["..."], []),
    ("<url|null>", None),
    ("video_<hex>", "video_01a1fa686f61774faa95e5ef4408d495"),
    ("<uuid>", UUID),
    ("<time>", "2026-11-20T19:24:41.285Z"),
    ("<decimal> USD", "0.033 USD"),
]
PARTS: list[tuple[Any, Any]] = [
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": 1, "b": 2}, {"a": 1}),
    ({"a": 1}, {"a": True}),
    ({"a": True}, {"a": 1}),
    ({"a": None}, {"a": 0}),
    ({"a": "<int>"}, {"a": 1.5}),
    ({"a": "<int>"}, {"a": True}),
    ({"a": "<int>"}, {"a": "1"}),
    (["<int>"], [1, 2]),
    (["<int>", "..."], [1, "2"]),
    ("COMPLETED", "completed"),
    ("<media>", "https://elsewhere.example/a.png"),
    ("<uuid>", UUID.upper()),
    ("<time>", "2026-11-20"),
    ("<money>", 0),
    ({"a": {"b": "<text>"}}, {"a": {"b": ""}}),
]


def hold(template: Any, value: Any) -> None:
    Matcher({}).value(template, value, "$")


@pytest.mark.parametrize(("template", "value"), FITS)
def test_an_answer_of_its_kind_passes(template: Any, value: Any) -> None:
    hold(template, value)


@pytest.mark.parametrize(("template", "value"), PARTS)
def test_any_other_answer_does_not(template: Any, value: Any) -> None:
    with pytest.raises(MismatchError):
        hold(template, value)


def test_what_a_template_names_is_known_to_the_next_one() -> None:
    matcher = Matcher({})
    matcher.body('{"id": "<uuid:JOB>"}', json.dumps({"id": UUID}).encode())
    matcher.body('{"url": "/jobs/$JOB/result"}', json.dumps({"url": f"/jobs/{UUID}/result"}).encode())
    with pytest.raises(MismatchError):
        matcher.body('{"id": "$JOB"}', b'{"id": "another"}')


def test_lines_of_events_are_compared_as_json_and_dots_stand_for_any_lines() -> None:
    body = b'data: {"b": 2, "a": 1}\n\ndata: [DONE]\n\n'
    Matcher({}).body('data: {"a": 1, "b": 2}\n...\ndata: [DONE]\n...', body)
    for template in ('data: {"a": 1}\n...', 'data: {"a": 1, "b": 2}', "...\ndata: [END]\n..."):
        with pytest.raises(MismatchError):
            Matcher({}).body(template, body)


@pytest.mark.parametrize(("template", "body"), [("<png>", b"\xff\xd8\xff"), ("", b"x"), ('{"a": 1}', b"<html>")])
def test_a_body_is_of_the_kind_that_is_written_down(template: str, body: bytes) -> None:
    with pytest.raises(MismatchError):
        Matcher({}).body(template, body)


def test_a_page_is_read_whole(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    command = "curl -X PUT \"$BASE/v1/a?b=c\" \\\n  --json '{}'"
    block = f"## A title\n\n```bash after=JOB\n{command}\n```\n\n```http\n200\na: b\n\n{{}}\n```\n"
    page.write_text(f"# A page\n\n{block}")
    (one,) = read(page)
    assert (one.title, one.awaited, one.status, one.headers, one.body) == (
        "A title",
        "after=JOB",
        200,
        (("a", "b"),),
        "{}",
    )
    assert one.calls == [("PUT", "/v1/a")]
    page.write_text(f"# A page\n\n{block}\n## Without a command\n")
    with pytest.raises(AssertionError, match="without a command"):
        read(page)


def test_the_last_head_is_that_of_the_answer() -> None:
    head = "HTTP/1.1 302 Found\r\nlocation: /a\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n"
    answer = Answer(head, b"")
    assert (answer.status, answer.headers) == (200, {"a": "b"})


def test_every_dialect_names_the_same_job() -> None:
    handle = "eyJ2IjoxLCJyZXF1ZXN0SWQiOiIwMWExZmE2OC02NzNlLTdmYTktODc5Ni03YTA3MzYwM2EzMGMifQ.c2lnbmF0dXJl"
    assert {job_of(name) for name in (UUID, f"video_{UUID.replace('-', '')}", handle)} == {UUID}
