"""Retries, other models to fall back on, a time limit, and answers from before: one delivery, one charge (D4)."""

from typing import Any

import pytest
from image_caller import Caller

from calotype.desks import image_desk
from calotype.dialects.effort import Effort, effort_of
from calotype.jobs.intake import Ask
from calotype.kernel.errors import Problem
from calotype.kernel.generation import Context, Generation, Operation
from calotype.sandbox.base import Emulator
from running import Account, House

SMALL: dict[str, Any] = {"width": 512, "height": 512}
KONTEXT: dict[str, Any] = {"model": "flux-kontext"}
"""A model with one route only."""
SLOW = "a fox @polls=100000"


def jobs(account: Account) -> list[tuple[Any, ...]]:
    return account.house.rows(
        "SELECT model, state, charged_micro FROM job WHERE org_id = :org ORDER BY id", org=account.org.id
    )


@pytest.mark.parametrize(("retries", "times", "status", "submits"), [(2, 2, 200, 3), (1, 2, 503, 2), (0, 1, 503, 1)])
def test_what_nobody_took_is_tried_again_as_often_as_is_wished(
    retries: int, times: int, status: int, submits: int, caller: Caller, account: Account,
    upstreams: dict[str, Emulator],
) -> None:  # fmt: skip
    prompt = f"a fox @status=503 @retry_after=0 @times={times}"
    answer = caller.generate(**KONTEXT, prompt=prompt, retries=retries)
    assert answer.status_code == status
    assert len(upstreams["bfl"].submits) == submits
    assert account.spent_micro == (44_000 if status == 200 else 0) and account.held_micro == 0


def test_two_further_tries_are_usual(caller: Caller, upstreams: dict[str, Emulator]) -> None:
    assert caller.generate(**KONTEXT, prompt="@status=503 @retry_after=0 @times=2").status_code == 200
    assert len(upstreams["bfl"].submits) == 3


def test_what_may_have_been_taken_is_never_sent_again(
    caller: Caller, account: Account, upstreams: dict[str, Emulator]
) -> None:
    assert caller.generate(**KONTEXT, prompt="@cut=after", retries=5).status_code == 502
    assert len(upstreams["bfl"].submits) == 1 and account.spent_micro == 0


@pytest.mark.parametrize("words", ["@status=503", "@error", "@cut=after"])
def test_another_model_delivers_where_the_first_one_cannot(words: str, caller: Caller, account: Account) -> None:
    answer = caller.generate(**KONTEXT, prompt=f"a fox {words}", fallback=["local/sketch"], retries=0)
    made = answer.json()
    assert answer.status_code == 200, answer.text
    assert made["data"]["model"] == "local/sketch" and made["data"]["cost_usd"] == 0
    assert made["warnings"][0].startswith("flux-kontext was not used: ")
    assert [row[:2] for row in jobs(account)] == [("flux-kontext", "failed"), ("local/sketch", "succeeded")]
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_the_one_that_delivered_is_charged_and_nobody_else(caller: Caller, account: Account) -> None:
    answer = caller.post(
        "/api/v1/image/generate", {"prompt": "a fox", "model": "veo-3.1", "retries": 0}, x_fallback="flux-kontext"
    )
    assert answer.json()["error"]["code"] == "INVALID_MODEL"  # the caller's own mistake is not fallen back on
    answer = caller.generate(**KONTEXT, prompt="@error", fallback=["recraft-v4", "sd-3.5"])
    assert answer.json()["data"]["model"] == "recraft-v4"
    assert (account.spent_micro, account.held_micro) == (40_000, 0)
    assert not [row for row in jobs(account) if row[0] == "sd-3.5"]


def test_parameters_that_the_other_model_does_not_take_are_left_out(caller: Caller) -> None:
    answer = caller.generate(**KONTEXT, seed=4, prompt="@error", fallback=["recraft-v4"])
    assert answer.json()["data"]["model"] == "recraft-v4"
    assert any(one.startswith("seed has no effect on recraft-v4") for one in answer.json()["warnings"])


def test_when_all_fail_the_first_one_s_reason_is_told(caller: Caller, account: Account) -> None:
    answer = caller.generate(**KONTEXT, prompt="@status=503", retries=0, fallback=["recraft-v4"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "MODEL_UNAVAILABLE")
    assert answer.headers["x-phi-routed"].startswith("bfl-flux-kontext")
    assert (len(jobs(account)), account.spent_micro, account.held_micro) == (2, 0, 0)


def test_what_the_caller_did_wrong_is_not_fallen_back_on(caller: Caller, account: Account) -> None:
    answer = caller.generate(**KONTEXT, prompt="@moderated", fallback=["local/sketch"])
    assert answer.json()["error"]["code"] == "GUARDRAIL_BLOCKED" and len(jobs(account)) == 1


def test_an_idempotency_key_leads_a_fallback_to_the_same_jobs(caller: Caller, account: Account) -> None:
    body = {"prompt": "@error", **KONTEXT, "fallback": ["recraft-v4"]}
    answers = [caller.post("/api/v1/image/generate", body, idempotency_key="one") for _ in range(3)]
    assert len({one.json()["data"]["id"] for one in answers}) == 1
    assert (len(jobs(account)), account.spent_micro) == (2, 40_000)


def test_a_job_that_takes_too_long_is_stopped_and_costs_nothing(
    caller: Caller, account: Account, upstreams: dict[str, Emulator]
) -> None:
    answer = caller.generate(model="recraft-v4", **SMALL, prompt=SLOW, timeout=3000)
    told = answer.json()["error"]
    assert (answer.status_code, told["code"], told["details"]["code"]) == (504, "MODEL_UNAVAILABLE", "timeout")
    assert jobs(account) == [("recraft-v4", "canceled", 0)]
    assert (account.spent_micro, account.held_micro) == (0, 0)
    assert len(upstreams["fal"].submits) == 1


def test_after_a_stopped_job_the_next_model_has_its_turn(caller: Caller, account: Account) -> None:
    answer = caller.generate(model="recraft-v4", **SMALL, prompt=SLOW, timeout=2000, fallback=["local/sketch"])
    assert answer.json()["data"]["model"] == "local/sketch", answer.text
    assert [row[1] for row in jobs(account)] == ["canceled", "succeeded"]


def test_an_idempotency_key_leads_past_a_stopped_job_to_the_one_that_delivered(
    caller: Caller, account: Account
) -> None:
    body = {"model": "recraft-v4", **SMALL, "prompt": SLOW, "timeout": 2000, "fallback": ["local/sketch"]}
    made = [caller.post("/api/v1/image/generate", body, idempotency_key="two").json() for _ in range(2)]
    assert made[0]["data"]["id"] == made[1]["data"]["id"] and made[0]["warnings"] == made[1]["warnings"]
    assert [row[1] for row in jobs(account)] == ["canceled", "succeeded"]


def test_openai_s_calls_have_their_time_too_whole_and_streamed(caller: Caller, account: Account) -> None:
    body = {"model": "recraft-v4", "prompt": SLOW, "size": "512x512", "timeout": 3000, "fallback": ["local/sketch"]}
    made = caller.post("/v1/images/generations", body)
    assert (made.status_code, made.json()["model"]) == (200, "local/sketch"), made.text
    assert "was stopped; nothing was charged" in made.json()["warnings"][0]
    shown = caller.post("/v1/images/generations", body | {"stream": True}).text
    assert '"model":"local/sketch"' in shown and "was stopped; nothing was charged" in shown
    alone = caller.post("/v1/images/generations", body | {"stream": True, "timeout": 300, "fallback": []})
    assert alone.status_code == 504
    assert [row[1] for row in jobs(account)] == ["canceled", "succeeded"] * 2 + ["canceled"]
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_a_job_that_cannot_be_stopped_is_followed_by_no_other_and_joined_when_sent_again(
    caller: Caller, account: Account, upstreams: dict[str, Emulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calotype.dialects.attempts.STOP_S", 0.05)
    body = {**KONTEXT, "prompt": "a fox @polls=60", "timeout": 200, "fallback": ["local/sketch"]}
    first = caller.generate(**body)
    assert (first.status_code, first.headers["x-should-retry"]) == (504, "false")
    job_id = first.json()["error"]["details"]["job_id"]
    answers = [first]
    while answers[-1].status_code == 504:
        answers.append(caller.generate(**body))
    assert answers[-1].json()["data"]["id"] == job_id
    assert len(upstreams["bfl"].submits) == 1
    assert (len(jobs(account)), account.spent_micro) == (1, 44_000)


def test_an_answer_is_used_again_where_that_is_wished(
    caller: Caller, account: Account, upstreams: dict[str, Emulator]
) -> None:
    body = {"prompt": "a fox", **KONTEXT}
    answers = [caller.post("/api/v1/image/generate", body, x_cache_ttl="60") for _ in range(2)]
    assert [one.headers["x-cache"] for one in answers] == ["MISS", "HIT"]
    assert answers[0].json()["data"]["id"] == answers[1].json()["data"]["id"]
    assert answers[1].json()["data"]["cost_usd"] == 0 and answers[1].headers["x-phi-cost-micro"] == "0"
    fresh = caller.post("/api/v1/image/generate", body, x_cache_ttl="60", x_cache="no-cache")
    assert fresh.headers["x-cache"] == "MISS" and fresh.json()["data"]["id"] != answers[0].json()["data"]["id"]
    assert "x-cache" not in caller.post("/api/v1/image/generate", body).headers
    assert (len(upstreams["bfl"].submits), account.spent_micro) == (3, 132_000)


def test_imagen_s_bytes_come_from_before_too(caller: Caller, account: Account) -> None:
    body = {"prompt": "a fox", "model": "imagen-4-fast"}
    answers = [caller.post("/api/v1/image/generate", body, x_cache_ttl="60").json()["data"] for _ in range(2)]
    assert answers[0]["images"] == answers[1]["images"] and "base64" in answers[1]["images"][0]
    assert account.spent_micro == 20_000


def test_nobody_gets_the_answer_of_another_key(caller: Caller, account: Account) -> None:
    body = {"prompt": "a fox", **KONTEXT}
    other = Caller(caller.client, account.key())
    answers = [one.post("/api/v1/image/generate", body, x_cache_ttl="60") for one in (caller, other)]
    assert [one.headers["x-cache"] for one in answers] == ["MISS", "MISS"]


def test_conversations_can_be_tried_as_hard_and_kept_too(house: House, account: Account, caller: Caller) -> None:
    attempts, app = image_desk(house.app).attempts, house.app
    key = house.ask(app.accounts.authenticate(caller.key))

    def ask(model: str, words: str) -> Ask:
        fields = {"messages": [{"role": "user", "content": f"Hello {words}"}]}
        context = Context(principal=key.principal, dialect="openai", fingerprint="the same request")
        generation = Generation(Operation.CHAT, model, fields)
        return Ask(generation, context, key=key, org=account.org, operation=Operation.CHAT)

    asks = [ask("anthropic/claude-3.7-sonnet", "@type=runner_server_error"), ask("anthropic/claude-3.5-sonnet", "")]
    first, again = (house.ask(attempts.run(asks, Effort(cache_ttl_s=60, timeout_ms=9000))) for _ in range(2))
    assert first.view.job.model == "anthropic/claude-3.5-sonnet" and not first.kept
    assert first.view.warnings[0].startswith("anthropic/claude-3.7-sonnet was not used: ")
    assert again.kept and again.view.id == first.view.id
    assert again.view.job.result.data["choices"][0]["message"]["content"]
    assert [row[1] for row in jobs(account)] == ["failed", "succeeded"]


@pytest.mark.parametrize(
    ("headers", "named", "field"),
    [
        ({b"x-cache": b"yes"}, {}, "X-Cache"), ({b"x-cache-ttl": b"0"}, {}, "X-Cache-TTL"),
        ({b"x-cache-ttl": b"86401"}, {}, "X-Cache-TTL"), ({b"x-retries": b"six"}, {}, "X-Retries"),
        ({b"x-timeout": b"-1"}, {}, "X-Timeout"), ({}, {"retries": True}, "retries"),
        ({}, {"timeout": 0}, "timeout"), ({}, {"fallback": [1]}, "fallback"),
        ({b"x-fallback": b"a,b,c,d,e,f"}, {}, "X-Fallback"), ({b"x-guardrails": b"pii"}, {}, "X-Guardrails"),
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_is_refused_by_name(
    headers: dict[bytes, bytes], named: dict[str, Any], field: str
) -> None:
    with pytest.raises(Problem) as caught:
        effort_of(headers, named)
    assert caught.value.field == field


def test_a_field_wins_over_its_header_and_the_usual_fills_the_rest() -> None:
    headers = {b"x-retries": b"4", b"x-timeout": b"100", b"x-fallback": b"a, b", b"x-cache-ttl": b"9"}
    found = effort_of(headers, {"retries": 0, "timeout": None}, Effort(retries=2, timeout_ms=60_000))
    assert found == Effort(fallback=("a", "b"), retries=0, timeout_ms=100, cache_ttl_s=9)
    assert found.rounds == 1 and Effort().rounds is None
    assert effort_of({}, {}, Effort(retries=2)) == Effort(retries=2)
