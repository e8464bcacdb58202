"""Short-lived tokens: what they open, and all that they do not (`wire/fal.md §6.2, §6.3`)."""

import time

import httpx2
import pytest
from fal_caller import MODEL, Fal
from websockets.exceptions import InvalidStatus

from calotype.dialects.fal.tickets import Tickets
from calotype.dialects.fal.tokens import Pass, _encode
from calotype.kernel.clock import SystemClock
from fal_session import keyed, opened, token
from house_fixtures import PRICE_MICRO
from running import Account, House
from upstream import Upstream

BODY = {"prompt": "a lighthouse"}


def sealed(house: House, key_id: str, apps: tuple[str, ...], until_s: float) -> str:
    """Make a token as the server does, with a moment of our own for its end."""
    seal = Tickets(house.app.secrets.get("fal_tickets"), SystemClock()).passes
    return seal.close(_encode(Pass(key_id, apps, int(until_s))))


@pytest.mark.parametrize("app", ["picture", "test/picture", "/test/picture/"])
def test_a_token_opens_a_session_that_its_key_pays(
    app: str, house: House, account: Account, upstream: Upstream
) -> None:
    text = token(house, account.key(), app)
    with opened(house, query=f"?fal_jwt_token={text}") as session:
        assert session.ask(**BODY)["images"]
    assert account.spent_micro == PRICE_MICRO


def test_a_token_for_as_much_as_one_may_name_opens_a_session(
    house: House, account: Account, upstream: Upstream
) -> None:
    text = token(house, account.key(), *(f"{n:0200}" for n in range(19)), "picture")
    with opened(house, query=f"?fal_jwt_token={text}") as session:
        assert session.ask(**BODY)["images"]


def test_the_newer_address_makes_tokens_too(fal: Fal, house: House, account: Account, upstream: Upstream) -> None:
    given = {"allowed_apps": ["test/picture"], "duration": 60}
    answer = fal.ask("POST", "/fal/rest/tokens/realtime", json=given)
    with opened(house, query=f"?fal_jwt_token={answer.json()}") as session:
        assert session.ask(**BODY)["images"]


def test_a_token_streams_too(house: House, account: Account, upstream: Upstream, http: httpx2.Client) -> None:
    text = token(house, account.key())
    answer = http.post(f"/fal/run/{MODEL}/stream?fal_jwt_token={text}", json=BODY)
    assert answer.status_code == 200 and b'"images"' in answer.content
    assert account.spent_micro == PRICE_MICRO


def test_a_token_is_good_for_nothing_else(
    house: House, account: Account, upstream: Upstream, http: httpx2.Client
) -> None:
    text = token(house, account.key())
    query = f"?fal_jwt_token={text}"
    for path in (f"/fal/run/{MODEL}{query}", f"/fal/queue/{MODEL}{query}", f"/fal/rest/tokens/{query}",
                 f"/fal/rest/storage/upload/initiate{query}", f"/fal/run/local/sketch/stream{query}"):  # fmt: skip
        assert http.post(path, json=BODY).status_code == 401, path
    for word in ("Key", "Bearer"):
        headers = {"authorization": f"{word} {text}"}
        for path in (
            f"/fal/run/{MODEL}",
            f"/fal/run/{MODEL}/stream",
            "/fal/cdn/files/upload",
            "/v1/images/generations",
        ):
            assert http.post(path, json=BODY, headers=headers).status_code == 401, path
    assert http.get(f"/fal/cdn/files/{text}/file").status_code == 404
    with pytest.raises(InvalidStatus), opened(house, authorization=f"Key {text}"):
        pass
    account.untouched()


def test_no_other_token_opens_a_session(house: House, account: Account, upstream: Upstream) -> None:
    ident, key = account.keyed()
    revoked, _ = account.keyed()
    house.ask(house.app.accounts.revoke(revoked))
    soon_s = time.time() + 60
    good = sealed(house, ident, ("picture",), soon_s)
    cdn = Tickets(house.app.secrets.get("fal_tickets"), SystemClock())
    wrong = [
        "", "eyJhbGciOiJub25lIn0.e30.x", good[:-2] + ("AA" if good[-2:] != "AA" else "BB"), key,
        sealed(house, ident, ("picture",), time.time() - 1), sealed(house, ident, ("other", "picture2"), soon_s),
        sealed(house, ident, ("other/picture", "test", "test/picture/turbo"), soon_s),
        sealed(house, revoked, ("picture",), soon_s), sealed(house, "nobody", ("picture",), soon_s),
        cdn._seal.close(_encode(Pass(ident, ("picture",), int(soon_s)))),
    ]  # fmt: skip
    for text in wrong:
        with opened(house, query=f"?fal_jwt_token={text}") as session:
            assert session.heard() == {"status": "error", "error": "Unauthorized"}, text
            assert session.closed[0] == 1008
    with opened(house, query=f"?fal_jwt_token={good}") as session:
        assert session.ask(**BODY)["images"]


def test_without_any_token_or_with_a_wrong_key_the_handshake_is_refused(
    house: House, account: Account, upstream: Upstream
) -> None:
    for headers in ({}, {"authorization": "Key a:b"}, {"authorization": "Bearer x"}):
        with pytest.raises(InvalidStatus) as refused, opened(house, **headers):
            pass
        answer = refused.value.response
        assert answer.status_code == 401 and b"No user found for Key ID and Secret" in answer.body


def test_each_tenant_pays_for_its_own_token(house: House, upstream: Upstream) -> None:
    one, other = house.account(), house.account()
    text = token(house, other.key())
    with opened(house, query=f"?fal_jwt_token={text}") as session:
        assert session.ask(**BODY)["images"]
    assert other.spent_micro == PRICE_MICRO
    one.untouched()


def test_a_session_ends_with_its_key(house: House, account: Account, upstream: Upstream) -> None:
    ident, key = account.keyed()
    with keyed(house, key) as session:
        assert session.ask(**BODY)["images"]
        house.ask(house.app.accounts.revoke(ident))
        assert session.ask(**BODY) == {"status": "error", "error": "Unauthorized"}
        assert session.closed[0] == 1008
    assert account.spent_micro == PRICE_MICRO


@pytest.mark.parametrize(
    "given",
    [
        {}, {"allowed_apps": []}, {"allowed_apps": "picture"}, {"allowed_apps": [1]}, {"allowed_apps": ["/"]},
        {"allowed_apps": ["x"] * 21}, {"allowed_apps": ["\u4e2d"]}, {"allowed_apps": ["x" * 201]},
        {"allowed_apps": ["picture"], "token_expiration": 0}, {"allowed_apps": ["picture"], "duration": "60"},
        {"allowed_apps": ["picture"], "token_expiration": True},
    ],
)  # fmt: skip
def test_a_token_must_say_what_it_is_for(given: dict[str, object], fal: Fal) -> None:
    assert fal.ask("POST", "/fal/rest/tokens/", json=given).status_code == 422
