"""PHI in this dialect: a direct call that answers data URIs, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fal_caller import Fal

from fal_session import keyed
from house_fixtures import settings_for
from running import House, running
from upstream import Upstream

PHI = {"x-phi": "true"}
ASKED = {"prompt": "a chest x-ray", "sync_mode": True}


@pytest.fixture(scope="module")
def agreed(_upstream: Upstream, cards_dir: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return a server whose provider has an agreement."""
    settings = settings_for(_upstream, cards_dir=cards_dir)
    settings["providers"]["cloud"] |= {"phi": {"reference": "BAA-1", "expires": "2099-12-31"}, "regions": ["CH"]}
    folder: Path = tmp_path_factory.mktemp("agreed")
    with running(folder, **settings) as house:
        yield house


@pytest.fixture
def caller(agreed: House, upstream: Upstream) -> Iterator[Fal]:
    with httpx2.Client(base_url=agreed.url, timeout=60) as client:
        yield Fal(client, agreed.account().key())


def test_a_direct_call_is_answered_inline_and_leaves_no_payload(caller: Fal, agreed: House) -> None:
    for path in ("test/picture", "test/picture/stream"):
        answer = caller.run(path, json=ASKED, headers=PHI)
        assert answer.status_code == 200, answer.text
        assert "data:image/png;base64," in answer.text and ASKED["prompt"] not in answer.text
        assert answer.headers["x-phi-tier"] == "phi"
        ident = answer.headers["x-fal-request-id"]
        assert agreed.rows("SELECT input FROM job WHERE id = :id", id=ident) == [(None,)]
        lines = caller.status(ident, "?logs=1").json()["logs"]
        assert ASKED["prompt"] not in str(lines)


def test_everything_else_is_refused_in_this_dialects_words(caller: Fal, upstream: Upstream) -> None:
    for answer in (
        caller.run(json={"prompt": "x"}, headers=PHI), caller.submit(json=ASKED, headers=PHI),
        caller.run(json=ASKED | {"fal_webhook": "https://example.com/hook"}, headers=PHI),
    ):  # fmt: skip
        assert (answer.status_code, answer.json()["error_type"]) == (403, "phi_blocked")
        assert "response_format" not in answer.text
    assert not upstream.seen


def test_a_frame_of_a_session_leaves_no_payload_either(caller: Fal, agreed: House) -> None:
    key = caller.auth["authorization"].removeprefix("Key ")
    with keyed(agreed, key, **{"x-phi": "true"}) as session:
        answer = session.ask(prompt="a chest x-ray, lateral")
    assert answer["images"][0]["content"] and answer["prompt"] == ""
    ident = answer["request_id"]
    assert agreed.rows("SELECT input, data_class FROM job WHERE id = :id", id=ident) == [(None, "phi")]
    assert agreed.rows("SELECT COUNT(*) FROM artifact WHERE job_id = :id", id=ident) == [(0,)]
