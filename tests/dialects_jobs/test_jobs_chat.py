"""The chat and the vectors: a flat answer, a stream in the form of OpenRouter's, and what both cost."""

import json
from decimal import Decimal
from typing import Any

import httpx2
import openai
import pytest
from jobs_kit import Emulated, JobsUser, refused

from calotype.kernel.generation import KeyClass
from running import Account, House

SAID = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Hello there"}]
PATH = "/phaya-gpt/chat/completions"


def events(answer: httpx2.Response) -> list[Any]:
    """Return a stream's events; the last one is the mark of its end."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]


def test_the_plain_answer_is_flat_and_named_for_people(user: JobsUser, account: Account, upstreams: Emulated) -> None:
    answer = user.post(PATH, {"messages": SAID, "max_tokens": 100})
    assert answer.status_code == 200, answer.text
    body = answer.json(parse_float=Decimal)
    assert list(body) == ["success", "id", "model", "message", "usage", "credits_used", "finish_reason"]
    assert (body["success"], body["model"], body["finish_reason"]) == (True, "Phaya-GPT", "stop")
    assert body["message"] == {"role": "assistant", "content": "You said: Hello there"}
    used = body["usage"]
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"] > 0
    assert body["credits_used"] == Decimal(used["total_tokens"]) / 10_000
    assert account.spent_micro == used["total_tokens"] * 3 and account.held_micro == 0
    sent = upstreams.openrouter.submits[0].json()
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("google/gemini-3-flash-preview", 0.7, 100)
    assert answer.headers["x-phi-cost-micro"] == str(account.spent_micro)


def test_the_debit_of_a_chat_is_what_it_cost(user: JobsUser) -> None:
    answer = user.post(PATH, {"messages": SAID}).json(parse_float=Decimal)
    (debit, _) = user.decimal("/user/credits/history")["transactions"]
    assert (debit["type"], debit["amount"]) == ("debit", answer["credits_used"])
    assert user.balance == 1000 - answer["credits_used"] == debit["balance_after"]


def test_the_stream_has_choices_and_an_end(user: JobsUser, account: Account) -> None:
    *chunks, done = events(user.post(PATH, {"messages": SAID, "stream": True}))
    assert done == "[DONE]"
    bodies = [json.loads(one) for one in chunks]
    assert bodies[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in bodies) == "You said: Hello there"
    assert len(bodies) > 3, "it comes in pieces"
    assert [one["choices"][0]["finish_reason"] for one in bodies] == [None] * (len(bodies) - 1) + ["stop"]
    assert bodies[-1]["usage"]["total_tokens"] * 3 == account.spent_micro
    assert bodies[-1]["credits_used"] == pytest.approx(account.spent_micro / 30_000)


def test_openais_client_reads_the_stream(user: JobsUser) -> None:
    client = openai.OpenAI(base_url=f"{user.house.url}/api/v1/phaya-gpt", api_key=user.key, max_retries=0)
    stream = client.chat.completions.create(model="phaya-gpt", messages=SAID, stream=True)  # type: ignore[call-overload]
    assert "".join(one.choices[0].delta.content or "" for one in stream) == "You said: Hello there"


def test_a_stream_that_fails_before_its_first_piece_is_an_ordinary_refusal(user: JobsUser, account: Account) -> None:
    said = [{"role": "user", "content": "x @status=400"}]
    answer = user.post(PATH, {"messages": said, "stream": True})
    assert answer.status_code in (422, 502) and set(answer.json()) == {"detail"}
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_a_stream_that_breaks_off_says_so_and_costs_nothing(user: JobsUser, account: Account) -> None:
    said = [{"role": "user", "content": "one two three @midstream"}]
    chunks = events(user.post(PATH, {"messages": said, "stream": True}))
    last = json.loads(chunks[-1])
    assert "[DONE]" not in chunks and last["choices"][0]["finish_reason"] == "error" and last["error"]["message"]
    assert (account.spent_micro, account.held_micro) == (0, 0)


@pytest.mark.parametrize("model", ["Phaya-GPT", "phaya-gpt", None, ""])
def test_the_usual_model_has_several_names(user: JobsUser, upstreams: Emulated, model: str | None) -> None:
    answer = user.post(PATH, {"messages": SAID, "model": model})
    assert answer.status_code == 200 and answer.json()["model"] == "Phaya-GPT"


def test_another_model_answers_under_its_own_name(user: JobsUser, upstreams: Emulated) -> None:
    models = user.get("/phaya-gpt/models").json()["models"]
    assert models[0] == {**models[0], "id": "phaya-gpt", "name": "Phaya-GPT", "default": True}
    assert {"openrouter/auto", "openai/gpt-4o-mini"} <= {one["id"] for one in models}
    answer = user.post(PATH, {"messages": SAID, "model": "openrouter/auto"})
    assert answer.status_code == 200, answer.text
    name = next(one["name"] for one in models if one["id"] == "openrouter/auto")
    assert answer.json()["model"] == name and answer.json()["credits_used"] == 0, "no price: an emulator bills nobody"


def test_what_is_known_and_not_done_is_a_warning(user: JobsUser) -> None:
    answer = user.post(PATH, {"messages": SAID, "web_search": True})
    assert any("web_search" in one for one in answer.json()["warnings"])
    assert "warnings" not in user.post(PATH, {"messages": SAID, "web_search": False}).json()


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({}, 422, "messages"), ({"messages": []}, 422, "messages"), ({"messages": "hi"}, 422, "messages"),
    ({"messages": [{"content": "hi"}]}, 422, "role"),
    ({"messages": SAID, "stream": "yes"}, 422, "stream"), ({"messages": SAID, "web_search": 1}, 422, "web_search"),
    ({"messages": SAID, "temperature": 3}, 422, "temperature"),
    ({"messages": SAID, "max_tokens": 0}, 422, "max_tokens"),
    ({"messages": SAID, "model": 5}, 422, "model"), ({"messages": SAID, "model": "text-to-image"}, 422, "model"),
    ({"messages": SAID, "colour": "red"}, 422, "colour"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "field"), BAD)
def test_a_wrong_chat_is_refused_by_name(
    user: JobsUser, account: Account, upstreams: Emulated, body: dict[str, Any], status: int, field: str
) -> None:
    refused(user.post(PATH, body), status, field=field)
    account.untouched()
    assert upstreams.submits == 0


def test_an_unknown_model_is_not_found(user: JobsUser, account: Account) -> None:
    detail = refused(user.post(PATH, {"messages": SAID, "model": "phaya-gtp"}), 404)
    assert "phaya-gpt" in detail
    account.untouched()


def test_vectors_are_answered_and_priced(user: JobsUser, account: Account, upstreams: Emulated) -> None:
    answer = user.post("/embedding/create", {"input": ["one two", "three"]})
    assert answer.status_code == 200, answer.text
    body = answer.json(parse_float=Decimal)
    assert [one["index"] for one in body["data"]] == [0, 1] and len(body["data"][0]["embedding"]) > 8
    assert body["model"] == "qwen/qwen3-embedding-8b" and body["success"] is True
    assert body["credits_used"] == Decimal(body["usage"]["total_tokens"]) / 10_000
    assert account.spent_micro == body["usage"]["total_tokens"] * 3
    assert user.post("/embedding/create", {"input": "one"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "input"), ({"input": ""}, "input"), ({"input": []}, "input"), ({"input": 5}, "input"),
     ({"input": "x", "model": "phaya-gpt"}, "model"), ({"input": "x", "size": 3}, "size")],
)  # fmt: skip
def test_wrong_texts_are_refused_by_name(user: JobsUser, account: Account, body: dict[str, Any], field: str) -> None:
    refused(user.post("/embedding/create", body), 422, field=field)
    account.untouched()


def test_prices_are_those_that_are_charged(user: JobsUser) -> None:
    for path, model in (("/phaya-gpt/pricing", "phaya-gpt"), ("/embedding/pricing", "qwen/qwen3-embedding-8b")):
        rows = [one for one in user.decimal(path)["pricing"] if one["model"] == model]
        assert rows and all((one["per"], one["credits"]) == (1_000_000, 100) for one in rows), rows


def test_a_chat_keeps_no_phi_and_a_route_without_an_agreement_gets_none(
    user: JobsUser, account: Account, upstreams: Emulated, jobs_house: House
) -> None:
    answer = user.post(PATH, {"messages": SAID}, X_PHI="true")
    assert answer.status_code == 403 and set(answer.json()) == {"detail"}
    assert answer.headers["x-phi-tier"] == "phi" and upstreams.submits == 0
    account.untouched()


def test_a_test_key_reaches_no_paid_model(account: Account, upstreams: Emulated) -> None:
    answer = JobsUser(account, KeyClass.TEST).post(PATH, {"messages": SAID})
    assert answer.status_code == 403 and upstreams.submits == 0
