"""Fallback, retries, a time limit and answers from before, by OpenAI's own package (`wire/products.md D4`)."""

import json
from typing import Any

import openai
import pytest
from openai_kit import IN_MICRO, OUT_MICRO, PICTURE_MICRO, Kit, picture, refused

HI: list[Any] = [{"role": "user", "content": "one two"}]
TURN_MICRO = 4 * IN_MICRO + 8 * OUT_MICRO
"""What the answer to `HI` costs."""
DOWN = "test/chat-down"


def jobs(kit: Kit) -> list[tuple[Any, ...]]:
    return kit.house.rows("SELECT model, state FROM job WHERE org_id = :org ORDER BY id", org=kit.account.org.id)


@pytest.mark.client
def test_another_model_answers_where_the_first_one_cannot(kit: Kit) -> None:
    body = {"fallback": ["test/chat-broken", "test/chat"], "retries": 0}
    answer = kit.client.chat.completions.create(model=DOWN, messages=HI, extra_body=body)
    assert (answer.model, answer.choices[0].message.content) == ("test/chat", "You said: one two")
    warnings = (answer.model_extra or {})["warnings"]
    assert [one.partition(":")[0] for one in warnings] == [f"{DOWN} was not used", "test/chat-broken was not used"]
    assert jobs(kit) == [(DOWN, "failed"), ("test/chat-broken", "failed"), ("test/chat", "succeeded")]
    assert kit.money == (TURN_MICRO, 0)


def test_headers_wish_as_fields_do_and_fields_win(kit: Kit) -> None:
    headers = {"X-Fallback": "test/chat", "X-Retries": "0"}
    answer = kit.client.chat.completions.with_raw_response.create(model=DOWN, messages=HI, extra_headers=headers)
    assert answer.parse().model == "test/chat" and len(kit.upstream.submits) == 2
    assert json.loads(answer.headers["x-calotype-warnings"])[0].startswith(f"{DOWN} was not used")
    with pytest.raises(openai.InternalServerError):
        kit.client.with_options(max_retries=0).chat.completions.create(
            model=DOWN, messages=HI, extra_headers=headers, extra_body={"fallback": [], "retries": 1}
        )
    assert len(kit.upstream.submits) == 4 and kit.money == (TURN_MICRO, 0)


@pytest.mark.parametrize(("retries", "submits"), [(0, 1), (2, 3)])
def test_what_nobody_took_is_sent_again_as_often_as_is_wished(retries: int, submits: int, kit: Kit) -> None:
    refused(kit.chat("hi", DOWN, retries=retries), 503, "unavailable", None)
    assert len(kit.upstream.submits) == submits and kit.money == (0, 0)


def test_when_all_fail_the_first_one_s_reason_is_told(kit: Kit) -> None:
    answer = kit.chat("hi", DOWN, fallback=["test/chat-broken"], retries=0)
    refused(answer, 503, "unavailable", None)
    assert answer.headers["x-phi-routed"].startswith("cloud-test-chat-down") and len(jobs(kit)) == 2


def test_what_the_caller_did_wrong_is_not_fallen_back_on(kit: Kit) -> None:
    refused(kit.chat("hi", temperature=9, fallback=["test/chat-plain"]), 400, "invalid_input", "temperature")
    assert jobs(kit) == []


def test_fields_that_the_other_model_does_not_take_are_left_out(kit: Kit) -> None:
    answer = kit.chat("hi", DOWN, temperature=0.5, retries=0, fallback=["test/chat-plain"])
    assert answer.json()["model"] == "test/chat-plain"
    assert any(one.startswith("temperature has no effect on test/chat-plain") for one in answer.json()["warnings"])


def test_an_idempotency_key_leads_a_fallback_to_the_same_jobs(kit: Kit) -> None:
    kit.http.headers["idempotency-key"] = "turn-9"
    answers = [kit.chat("one two", DOWN, retries=0, fallback=["test/chat"]).json() for _ in range(3)]
    assert len({one["id"] for one in answers}) == 1 and len(jobs(kit)) == 2 and kit.money == (TURN_MICRO, 0)


@pytest.mark.client
def test_an_answer_is_used_again_at_no_charge(kit: Kit) -> None:
    ask = kit.client.chat.completions.with_raw_response.create
    first, again = (ask(model="test/chat", messages=HI, extra_headers={"X-Cache-TTL": "60"}) for _ in range(2))
    assert [one.headers["x-cache"] for one in (first, again)] == ["MISS", "HIT"]
    assert [one.headers["x-phi-cost-micro"] for one in (first, again)] == [str(TURN_MICRO), "0"]
    assert first.parse().id == again.parse().id and kit.money == (TURN_MICRO, 0)
    fresh = ask(model="test/chat", messages=HI, extra_headers={"X-Cache-TTL": "60", "X-Cache": "no-cache"})
    assert fresh.headers["x-cache"] == "MISS" and fresh.parse().id != first.parse().id
    assert "x-cache" not in ask(model="test/chat", messages=HI).headers
    assert len(kit.upstream.submits) == 3


def test_an_answer_of_a_model_that_stood_in_is_not_given_to_who_did_not_allow_it(kit: Kit) -> None:
    kit.http.headers |= {"x-cache-ttl": "60", "x-retries": "0"}
    body = {"model": DOWN, "messages": HI}
    with_it = kit.http.post("/chat/completions", json=body, headers={"x-fallback": "test/chat"})
    assert with_it.status_code == 200 and with_it.headers["x-cache"] == "MISS"
    assert kit.http.post("/chat/completions", json=body).status_code == 503
    again = kit.http.post("/chat/completions", json=body, headers={"x-fallback": "test/chat"})
    assert again.headers["x-cache"] == "HIT"


def test_phi_and_streams_are_never_answered_from_before(kit: Kit) -> None:
    kit.http.headers["x-cache-ttl"] = "60"
    answer, events = kit.events("/chat/completions", {"model": "test/chat", "messages": HI, "stream": True})
    assert json.loads(answer.headers["x-calotype-warnings"]) == ["X-Cache-TTL has no effect on streams"]
    assert "x-cache" not in answer.headers and events[-1] == ("", "[DONE]")
    kit.http.headers["x-phi"] = "true"
    answers = [kit.chat("hi", "test/chat-clinic") for _ in range(2)]
    assert [one.headers["x-cache"] for one in answers] == ["MISS", "MISS"]
    assert len(kit.upstream.submits) == 3


def test_what_takes_too_long_and_cannot_be_stopped_is_joined_when_sent_again(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calotype.dialects.attempts.STOP_S", 0.05)
    answers = [kit.chat("one two @latency=1.5", timeout=100, fallback=["test/chat-plain"])]
    while answers[-1].status_code == 504:
        assert answers[-1].json()["error"]["data"]["job_id"] and answers[-1].headers["x-should-retry"] == "false"
        answers.append(kit.chat("one two @latency=1.5", timeout=100, fallback=["test/chat-plain"]))
    assert answers[-1].status_code == 200 and len(answers) > 1
    assert jobs(kit) == [("test/chat", "succeeded")] and len(kit.upstream.submits) == 1


@pytest.mark.client
def test_a_stream_falls_back_before_its_first_piece(kit: Kit) -> None:
    body = {"fallback": ["test/chat-broken", "test/chat"], "retries": 0}
    stream = kit.client.chat.completions.create(model=DOWN, messages=HI, stream=True, extra_body=body)
    chunks = list(stream)
    assert {one.model for one in chunks} == {"test/chat"}
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "You said: one two"
    warnings = (chunks[-1].model_extra or {})["warnings"]
    assert [one.partition(" ")[0] for one in warnings] == [DOWN, "test/chat-broken"]
    assert kit.money == (TURN_MICRO, 0)


def test_a_stream_that_broke_after_a_piece_is_not_begun_anew(kit: Kit) -> None:
    body = {"model": "test/chat", "messages": [{"role": "user", "content": "one two @midstream"}], "stream": True}
    answer, events = kit.events("/chat/completions", body | {"fallback": ["test/chat-plain"]})
    assert answer.status_code == 200 and events[-1][1]["error"]["code"] == "upstream_failed"
    assert len(jobs(kit)) == 1 and kit.money == (0, 0)


def test_a_stream_shows_each_piece_once_when_its_first_was_waited_for(kit: Kit) -> None:
    body = {"model": "test/chat", "messages": HI, "stream": True, "timeout": 20_000}
    _, events = kit.events("/chat/completions", body)
    deltas = [one["choices"][0]["delta"] for _, one in events[:-1]]
    assert "".join(one.get("content", "") for one in deltas) == "You said: one two" and len(deltas) == 6


def test_a_stream_of_which_nothing_came_is_an_ordinary_refusal(kit: Kit) -> None:
    body = {"model": DOWN, "messages": HI, "stream": True, "retries": 0, "fallback": ["test/chat-broken"]}
    refused(kit.http.post("/chat/completions", json=body), 503, "unavailable", None)


def test_vectors_fall_back_and_are_used_again(kit: Kit) -> None:
    text = "one @status=503 @retry_after=0 @times=1"
    ask = kit.client.embeddings.with_raw_response.create
    more = {"extra_body": {"fallback": ["test/vectors-clinic"], "retries": 0}, "extra_headers": {"X-Cache-TTL": "9"}}
    first, again = (ask(model="test/vectors", input=text, encoding_format="base64", **more) for _ in range(2))
    assert first.parse().model == again.parse().model == "test/vectors-clinic"
    assert first.parse().data == again.parse().data
    assert [one.headers["x-cache"] for one in (first, again)] == ["MISS", "HIT"]
    assert again.headers["x-phi-cost-micro"] == "0" and len(kit.upstream.submits) == 2


@pytest.mark.parametrize("form", ["url", "b64_json"])
def test_pictures_fall_back_and_are_used_again(form: Any, kit: Kit) -> None:
    more: dict[str, Any] = {
        "extra_body": {"fallback": ["test/retouch"], "retries": 0},
        "extra_headers": {"X-Cache-TTL": "9"},
    }
    more |= {"prompt": "a fox @status=503 @retry_after=0 @times=1", "response_format": form}
    ask = kit.client.images.with_raw_response.edit
    first, again = (ask(model="test/edit", image=("a.png", picture()), **more) for _ in range(2))
    assert [one.headers["x-cache"] for one in (first, again)] == ["MISS", "HIT"]
    assert [one.headers["x-phi-cost-micro"] for one in (first, again)] == [str(PICTURE_MICRO), "0"]
    assert jobs(kit) == [("test/edit", "failed"), ("test/retouch", "succeeded")]
    found = [(one.parse().data or [None])[0] for one in (first, again)]
    assert all(found) and (form == "url" or found[0] == found[1])
    assert kit.money == (PICTURE_MICRO, 0)


def test_a_picture_of_words_may_come_from_this_very_machine(kit: Kit) -> None:
    made = kit.client.images.generate(
        model="local/sketch", prompt="a fox", size="256x256", extra_body={"fallback": ["auto"], "retries": 5}
    )
    assert made.data and (made.model_extra or {})["model"] == "local/sketch"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"fallback": ["test/chatt"]}, "fallback.0"), ({"fallback": [5]}, "fallback[0]"), ({"fallback": 5}, "fallback"),
        ({"fallback": ["auto"] * 6}, "fallback"), ({"retries": 6}, "retries"), ({"retries": -1}, "retries"),
        ({"retries": "two"}, "retries"), ({"timeout": 0}, "timeout"), ({"timeout": 300_001}, "timeout"),
        ({"timeout": 10**30}, "timeout"), ({"guardrails": ["pii"]}, "guardrails"), ({"prompt_id": "p"}, "prompt_id"),
        ({"prompt_version": 1}, "prompt_version"), ({"prompt_variables": {"a": 1}}, "prompt_variables"),
        ({"load_balance": True}, "load_balance"),
    ],
)  # fmt: skip
def test_wishes_that_cannot_be_are_refused_by_name(more: dict[str, Any], field: str, kit: Kit) -> None:
    answer = kit.chat("hi", **more)
    assert answer.status_code in (400, 404) and answer.json()["error"]["param"] == field, answer.text
    kit.account.untouched()


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"x-guardrails": "pii,content_moderation"}, "X-Guardrails"), ({"x-retries": "many"}, "X-Retries"),
        ({"x-timeout": "0"}, "X-Timeout"), ({"x-cache-ttl": "86401"}, "X-Cache-TTL"), ({"x-cache": "yes"}, "X-Cache"),
        ({"x-fallback": "nobody"}, "fallback.0"),
    ],
)  # fmt: skip
def test_headers_that_cannot_be_are_refused_by_name(headers: dict[str, str], field: str, kit: Kit) -> None:
    kit.http.headers |= headers
    answer = kit.chat("hi")
    assert answer.status_code in (400, 404) and answer.json()["error"]["param"] == field, answer.text
    kit.account.untouched()


def test_calls_that_take_no_wishes_refuse_the_fields_and_say_that_headers_are_idle(kit: Kit) -> None:
    body = {"model": "test/voice", "input": "hi"}
    refused(kit.http.post("/audio/speech", json=body | {"fallback": ["auto"]}), 400, "invalid_input", "fallback")
    answer = kit.http.post("/audio/speech", json=body, headers={"x-fallback": "auto"})
    assert json.loads(answer.headers["x-calotype-warnings"]) == ["X-Fallback has no effect on this call"]
