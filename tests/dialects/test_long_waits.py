"""A caller who is told that its job goes on gets that job when it sends the same request again."""

import time
from pathlib import Path

import pytest

from calotype.jobs.intake import Ask
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, Generation, Operation
from running import running


def test_a_request_whose_answer_took_too_long_is_joined_when_it_is_sent_again(tmp_path: Path) -> None:
    with running(tmp_path, limits={"max_wait_s": 0.001}) as house:
        account = house.account()
        key = house.ask(house.app.accounts.authenticate(account.key()))
        fields = {"prompt": "a fox", "size": "256x256"}
        context = Context(principal=key.principal, dialect="openai", fingerprint="the same request")
        generation = Generation(Operation.TEXT_TO_IMAGE, "local/sketch", fields)
        ask = Ask(generation, context, key=key, org=account.org, operation=Operation.TEXT_TO_IMAGE)
        with pytest.raises(Problem) as caught:
            house.ask(house.app.engine.run(ask))
        assert caught.value.code is Code.TIMEOUT
        while house.rows("SELECT answer FROM idempotency") == [("open",)]:
            time.sleep(0.01)  # the mark is written in bulk a moment later
        ticket = house.ask(house.app.engine.accept(ask))
        assert ticket.joined and ticket.job.id == caught.value.data["job_id"] and account.jobs == 1
