"""Credits: what is debited when, given back, left, and told; exact to a millionth of a credit."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from jobs_kit import CREDIT, FILM, FOREVER, PORTRAIT, Emulated, JobsUser, micro

from calotype.dialects.jobs.credits import CreditRate, two_digits
from calotype.kernel.generation import KeyClass
from calotype.kernel.ids import JobId
from calotype.ledger.types import JournalKind
from running import Account, House


def lines(user: JobsUser, **query: Any) -> list[tuple[str, str, str, str | None]]:
    """Return the credit history: type, amount, balance after and job of each line."""
    found = user.decimal("/user/credits/history", **query)["transactions"]
    return [(one["type"], str(one["amount"]), str(one["balance_after"]), one["job_id"]) for one in found]


def test_the_answer_about_credits_is_the_published_one(user: JobsUser, account: Account) -> None:
    answer = user.get("/user/credits")
    assert answer.text.startswith('{"success":true,"user_id":"') and "credits_balance" in answer.text
    assert answer.json() == {
        "success": True, "user_id": account.org.id, "credits_balance": 1000,
        "credits_balance_formatted": "1000.00 เครดิต", "currency": "THB", "cached": False,
    }  # fmt: skip


def test_the_profile_is_the_organisation(user: JobsUser, account: Account) -> None:
    body = user.get("/user/profile").json()
    assert set(body) == {"success", "user_id", "name", "email", "credits_balance", "created_at"}
    assert (body["user_id"], body["name"], body["credits_balance"]) == (account.org.id, account.org.name, 1000)
    assert body["created_at"].endswith("Z")


def test_nothing_is_cached_and_forgetting_it_succeeds(user: JobsUser, account: Account, jobs_house: House) -> None:
    assert user.balance == 1000
    jobs_house.ask(jobs_house.app.ledger.credit(account.org.id, micro("0.001")))
    assert str(user.balance) == "1000.001"
    assert user.post("/user/credits/invalidate-cache").json()["success"] is True


def test_a_job_is_debited_when_it_is_made_and_once(user: JobsUser, upstreams: Emulated) -> None:
    ident = user.made("/text-to-image/generate", prompt=f"a cat {FOREVER}")
    assert user.balance == 999
    assert lines(user)[0] == ("debit", "1", "999", ident)
    user.begun(ident)
    upstreams.finish()
    assert user.ended("/text-to-image/status", ident)["status"] == "COMPLETED"
    assert user.balance == 999
    assert lines(user) == [("debit", "1", "999", ident), ("topup", "1000", "1000", None)]


def test_a_job_that_fails_is_given_back(user: JobsUser, upstreams: Emulated, account: Account) -> None:
    ident = user.made("/veo31-video/create", prompt=f"waves {FOREVER}")
    assert user.balance == 985
    user.begun(ident)
    upstreams.finish("moderated")
    failed = user.ended("/veo31-video/status", ident)
    assert failed["status"] == "failed" and "content policy" in failed["error"] and failed["video_url"] is None
    assert user.balance == 1000
    assert lines(user)[:2] == [("refund", "15", "1000", ident), ("debit", "15", "985", ident)]
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_seedream_is_debited_when_it_is_done(user: JobsUser, upstreams: Emulated, account: Account) -> None:
    ident = user.made("/seedream/create", prompt=f"a cat {FOREVER}")
    assert account.held_micro == micro("1.5"), "the ledger holds it all the same"
    assert user.balance == 1000 and len(lines(user)) == 1
    user.begun(ident)
    upstreams.finish()
    user.ended("/seedream/status", ident)
    assert lines(user)[0] == ("debit", "1.5", "998.5", ident)
    lost = user.made("/seedream/create", prompt="a cat @moderated")
    assert user.ended("/seedream/status", lost)["status"] == "failed"
    assert user.balance == Decimal("998.5") and len(lines(user)) == 2, "what was never debited is not given back"


def test_the_hold_of_a_seedream_guards_the_balance(account: Account, upstreams: Emulated, jobs_house: House) -> None:
    poor = JobsUser(jobs_house.account(micro=micro("2")))
    poor.begun(poor.made("/seedream/create", prompt=f"a cat {FOREVER}"))
    answer = poor.post("/seedream/create", {"prompt": "another cat"})
    assert answer.status_code == 402 and len(upstreams.kie.submits) == 1
    upstreams.finish()


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"resolution": "480p", "duration": "4"}, "2"), ({"resolution": "480p", "duration": "8"}, "3"),
        ({"resolution": "480p", "duration": "12"}, "4"), ({"resolution": "720p", "duration": "4"}, "3"),
        ({}, "6"), ({"resolution": "720p", "duration": "12"}, "9"), ({"resolution": "1080p", "duration": "4"}, "6"),
        ({"resolution": "1080p", "duration": "8"}, "12"), ({"resolution": "1080p", "duration": "12"}, "18"),
        ({"resolution": "480p", "duration": "4", "generate_audio": True}, "3"),
        ({"resolution": "480p", "duration": "8", "generate_audio": True}, "6"),
        ({"resolution": "480p", "duration": "12", "generate_audio": True}, "8"),
        ({"resolution": "720p", "duration": "4", "generate_audio": True}, "6"),
        ({"generate_audio": True}, "12"), ({"resolution": "720p", "duration": "12", "generate_audio": True}, "18"),
        ({"resolution": "1080p", "duration": "4", "generate_audio": True}, "12"),
        ({"resolution": "1080p", "duration": "8", "generate_audio": True}, "23"),
        ({"resolution": "1080p", "duration": "12", "generate_audio": True}, "35"),
    ],
)  # fmt: skip
def test_seedance_costs_what_its_table_says(
    user: JobsUser, upstreams: Emulated, account: Account, fields: dict[str, Any], price: str
) -> None:
    ident = user.made("/seedance-video/create", prompt="waves @moderated", **fields)
    user.ended("/seedance-video/status", ident)
    debit = next(one for one in lines(user) if one[0] == "debit")
    assert debit[1] == price and user.balance == 1000


@pytest.mark.parametrize(("mode", "most"), [("720p", "36.3"), ("1080p", "54.6")])
def test_motion_holds_thirty_seconds(user: JobsUser, upstreams: Emulated, mode: str, most: str) -> None:
    fields = {"input_urls": [PORTRAIT], "video_urls": [FILM], "mode": mode, "prompt": "@moderated"}
    user.ended("/kling-motion-control/status", user.made("/kling-motion-control/create", **fields))
    assert [one[:2] for one in lines(user)][:2] == [("refund", most), ("debit", most)]


def test_every_line_leaves_the_balance_of_the_one_before(user: JobsUser, upstreams: Emulated, account: Account) -> None:
    house = account.house
    user.ended("/text-to-image/status", user.made("/text-to-image/generate", prompt="a cat"))
    house.ask(house.app.ledger.credit(account.org.id, 7, kind=JournalKind.TOPUP))
    user.ended("/seedream/status", user.made("/seedream/create", prompt="a cat"))
    house.ask(house.app.ledger.credit(account.org.id, -micro("2"), kind=JournalKind.GRANT))
    user.ended("/veo31-video/status", user.made("/veo31-video/create", prompt="waves @moderated"))
    said = user.post("/phaya-gpt/chat/completions", {"messages": [{"role": "user", "content": "hello"}]})
    assert said.status_code == 200, said.text
    house.ask(house.app.ledger.credit(account.org.id, micro("1"), kind=JournalKind.REFUND))
    running = user.made("/nano-banana/create", prompt=f"a cat {FOREVER}")
    user.begun(running)
    found = user.decimal("/user/credits/history", limit=500)["transactions"]
    assert [one["type"] for one in found] == [
        "debit", "refund", "debit", "refund", "debit", "debit", "debit", "topup", "debit", "topup",
    ]  # fmt: skip
    assert found[0]["job_id"] == running and found[0]["balance_after"] == user.balance
    for newer, older in pairwise(found):
        change = newer["amount"] * (-1 if newer["type"] == "debit" else 1)
        # seven micro-USD are no whole number of millionths: a balance is rounded down
        assert abs(newer["balance_after"] - older["balance_after"] - change) <= Decimal("0.000001")
    for limit in range(1, len(found) + 1):
        assert user.decimal("/user/credits/history", limit=limit)["transactions"] == found[:limit]
    upstreams.finish()


def test_a_free_key_is_debited_nothing(account: Account, upstreams: Emulated) -> None:
    first = JobsUser(account, KeyClass.UNLIMITED)
    ident = first.made("/text-to-image/generate", prompt="a cat")
    first.ended("/text-to-image/status", ident)
    assert first.balance == 1000 and len(lines(first)) == 1
    (item,) = first.get("/text-to-image/history").json()["items"]
    assert item["credits_used"] == 0


def test_too_few_credits_are_said_in_credits_and_nothing_is_sent(jobs_house: House, upstreams: Emulated) -> None:
    account = jobs_house.account(micro=micro("14.5"))
    user = JobsUser(account)
    answer = user.post("/veo31-video/create", {"prompt": "waves"})
    assert answer.status_code == 402
    assert answer.json() == {"detail": "Not enough credits: 15 are needed and 14.5 are available."}
    account.untouched()
    assert upstreams.submits == 0


def test_an_account_without_money_has_none(jobs_house: House) -> None:
    user = JobsUser(jobs_house.account(micro=0))
    assert user.balance == 0 and lines(user) == []
    assert user.get("/user/credits").json()["credits_balance_formatted"] == "0.00 เครดิต"


@pytest.mark.parametrize("limit", ["0", "501", "x", "-1", "1.5", ""])
def test_a_wrong_limit_is_named(user: JobsUser, limit: str) -> None:
    answer = user.get("/user/credits/history", limit=limit)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["query", "limit"]


@pytest.mark.parametrize(
    ("micro_usd", "amount", "left"),
    [
        (0, "0", "0"), (30, "0.001", "0.001"), (30_000, "1", "1"), (2_547_000, "84.9", "84.9"),
        (1, "0.000033", "0.000033"), (2, "0.000067", "0.000066"), (-30_000, "-1", "-1"), (3_000_000, "100", "100"),
        (10**15, "33333333333.333333", "33333333333.333333"),
    ],
)  # fmt: skip
def test_amounts_are_exact_and_balances_never_too_high(micro_usd: int, amount: str, left: str) -> None:
    rate = CreditRate(CREDIT, frozenset())
    assert (str(rate.of(micro_usd)), str(rate.left(micro_usd))) == (amount, left)


def test_people_are_shown_hundredths_rounded_down() -> None:
    assert [two_digits(Decimal(text)) for text in ("84.9", "0.019", "7")] == ["84.90", "0.01", "7.00"]


def test_the_end_of_an_old_job_is_among_the_newest_lines(user: JobsUser, upstreams: Emulated) -> None:
    old = user.made("/veo31-video/create", prompt=f"waves {FOREVER}")
    for _ in range(3):
        user.ended("/text-to-image/status", user.made("/text-to-image/generate", prompt="a cat"))
    user.begun(old)
    upstreams.finish("moderated")
    user.house.ask(user.house.app.engine.wait(JobId(old), 30))
    newest = lines(user, limit=2)
    assert newest[0] == ("refund", "15", "997", old) and newest[1][:3] == ("debit", "1", "982")
