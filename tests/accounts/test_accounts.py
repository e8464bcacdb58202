"""Keys are checked in memory, refused alike, and a change made elsewhere is seen at the next refresh."""

import asyncio
from typing import Any

import pytest

from calotype.accounts import Accounts, KeyRecord, OrgStatus
from calotype.accounts import store as accounts_store
from calotype.accounts.tokens import hash_of
from calotype.db import Database, Sql
from calotype.kernel.clock import ManualClock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass, Region, Scope
from calotype.kernel.ids import KeyId, OrgId


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def accounts(db: Database, clock: ManualClock) -> Accounts:
    accounts = Accounts(db, clock)
    await accounts.start()
    return accounts


def refusal(accounts: Accounts, token: str) -> str:
    with pytest.raises(Problem) as caught:
        accounts.lookup(token)
    assert caught.value.code is Code.INVALID_API_KEY
    return caught.value.message


def works(accounts: Accounts, token: str) -> bool:
    try:
        return accounts.lookup(token) is not None
    except Problem:
        return False


async def test_a_first_start_makes_the_default_organisation_once(db: Database, clock: ManualClock) -> None:
    for _ in range(2):
        accounts = Accounts(db, clock)
        await accounts.start()
    assert [org.name for org in await accounts.list_orgs()] == ["default"]


async def test_a_key_is_looked_up_in_both_forms_and_keeps_what_it_was_given(accounts: Accounts) -> None:
    record, token = await accounts.create_key(
        name="ci",
        scopes=[Scope.API, Scope.ADMIN],
        models=["gpt-image-2", "local/*"],
        spend_cap_micro=5_000_000,
        requests_per_minute=60,
        max_in_progress=4,
    )
    assert token.startswith(f"ct_live_{record.id}_")
    assert accounts.lookup(token) == record
    secret = token.rsplit("_", 1)[1]
    assert accounts.lookup(f"{record.id}:{secret}") == record
    assert await accounts.list_keys(record.org_id) == [record]
    assert accounts.organisation(record.org_id).name == "default"
    assert record.principal.scopes == {Scope.API, Scope.ADMIN}


async def test_the_secret_is_stored_as_its_hash_only(accounts: Accounts, db: Database) -> None:
    _, token = await accounts.create_key(name="ci")
    secret = token.rsplit("_", 1)[1]
    rows = await db.read(lambda tx: tx.rows(Sql("SELECT * FROM api_key")))
    assert hash_of(secret) in rows[0]
    assert secret not in str(rows)


async def test_every_bad_key_is_refused_in_the_same_words(accounts: Accounts, clock: ManualClock) -> None:
    record, token = await accounts.create_key(name="a")
    expiring, expired = await accounts.create_key(name="b", expires_at_ms=clock.now_ms() + 1000)
    gone, revoked = await accounts.create_key(name="c", key_class=KeyClass.TEST)
    assert revoked.startswith("ct_test_")
    assert accounts.lookup(expired) == expiring
    clock.advance(1000)
    await accounts.revoke(gone.id)
    wrong_secret = token[:-1] + ("0" if token[-1] != "0" else "1")
    as_test = token.replace("ct_live_", "ct_test_")
    unknown = f"ct_live_{'0' * 16}_{'0' * 48}"
    with pytest.raises(Problem) as caught:
        await accounts.authenticate(unknown)
    odd = f"{record.id}:{'é' * 48}"
    bad = ["", "nonsense", wrong_secret, as_test, expired, revoked, unknown, odd]
    assert {refusal(accounts, token) for token in bad} == {caught.value.message}
    assert accounts.lookup(token) == record


async def test_an_unknown_key_is_read_once_a_second(accounts: Accounts, db: Database, clock: ManualClock) -> None:
    elsewhere = Accounts(db, clock)
    await elsewhere.start()
    _, token = await elsewhere.create_key(name="new")
    assert accounts.lookup(token) is None
    assert (await accounts.authenticate(token)).name == "new"
    assert accounts.lookup(token) is not None

    unknown = f"ct_live_{'0' * 16}_{'0' * 48}"
    assert accounts.lookup(unknown) is None
    with pytest.raises(Problem):
        await accounts.authenticate(unknown)
    refusal(accounts, unknown)
    clock.advance(1000)
    assert accounts.lookup(unknown) is None


async def test_changes_made_by_another_process_are_seen_at_the_next_refresh(
    accounts: Accounts, db: Database, clock: ManualClock
) -> None:
    record, token = await accounts.create_key(name="a")
    elsewhere = Accounts(db, clock)
    await elsewhere.start()
    assert not await accounts.refresh() or not await accounts.refresh()
    await elsewhere.revoke(record.id)
    await elsewhere.lock_org("default")
    assert accounts.lookup(token) == record
    assert await accounts.refresh()
    refusal(accounts, token)
    assert accounts.organisation(record.org_id).locked
    assert not await accounts.refresh()


async def test_the_refreshing_task_survives_an_outage_and_catches_up(
    db: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts, elsewhere = Accounts(db, clock, refresh_s=0.001), Accounts(db, clock)
    await accounts.start()
    await elsewhere.start()
    record, token = await elsewhere.create_key(name="a")
    await accounts.authenticate(token)
    failed, caught_up = asyncio.Event(), asyncio.Event()
    refresh = accounts.refresh

    async def observed() -> bool:
        if not failed.is_set():
            failed.set()
            raise Problem(Code.UNAVAILABLE, "The database is not reachable right now.")
        if changed := await refresh():
            caught_up.set()
        return changed

    monkeypatch.setattr(accounts, "refresh", observed)
    task = asyncio.create_task(accounts.refresh_forever())
    try:
        await asyncio.wait_for(failed.wait(), 10)
        await elsewhere.revoke(record.id)
        async with asyncio.timeout(10):
            while works(accounts, token):
                caught_up.clear()
                await caught_up.wait()
    finally:
        task.cancel()
    refusal(accounts, token)


async def test_a_revocation_is_final_and_keeps_its_time(accounts: Accounts, clock: ManualClock) -> None:
    record, _ = await accounts.create_key(name="a")
    first = await accounts.revoke(record.id)
    clock.advance(5000)
    assert await accounts.revoke(record.id) == first


async def test_a_key_of_another_organisation_is_not_found(accounts: Accounts) -> None:
    record, token = await accounts.create_key(name="a")
    other = await accounts.create_org("other")
    with pytest.raises(Problem) as caught:
        await accounts.revoke(record.id, org_id=other.id)
    assert caught.value.code is Code.NOT_FOUND
    assert accounts.lookup(token) == record


async def test_memory_stays_bounded_and_a_dropped_key_still_works(db: Database, clock: ManualClock) -> None:
    accounts = Accounts(db, clock, most_keys=2)
    await accounts.start()
    tokens = [(await accounts.create_key(name=str(n)))[1] for n in range(3)]
    assert accounts.lookup(tokens[0]) is None
    assert (await accounts.authenticate(tokens[0])).name == "0"
    assert accounts.lookup(tokens[1]) is None


async def test_organisations_have_names_of_their_own(accounts: Accounts) -> None:
    made = await accounts.create_org("Clinic", default_region=Region.CH, strict_residency=True)
    assert await accounts.get_org("Clinic") == await accounts.get_org(made.id) == made
    with pytest.raises(Problem) as caught:
        await accounts.create_org("Clinic")
    assert caught.value.code is Code.CONFLICT
    assert (await accounts.lock_org("Clinic")).status is OrgStatus.LOCKED
    assert not (await accounts.lock_org("Clinic", locked=False)).locked
    moved = await accounts.set_residency("Clinic", default_region=None, strict_residency=False)
    assert await accounts.get_org("Clinic") == moved
    with pytest.raises(Problem):
        await accounts.get_org("nobody")


@pytest.mark.parametrize(
    ("field", "bounds"),
    [
        ("requests_per_minute", {"requests_per_minute": 0}),
        ("max_in_progress", {"max_in_progress": 0}),
        ("spend_cap_micro", {"spend_cap_micro": -1}),
        ("models", {"models": [""]}),
        ("scopes", {"scopes": []}),
    ],
)
async def test_a_bound_that_makes_no_sense_is_refused_by_name(accounts: Accounts, field: str, bounds: dict) -> None:
    with pytest.raises(Problem) as caught:
        await accounts.create_key(name="a", **bounds)
    assert (caught.value.code, caught.value.field) == (Code.INVALID_INPUT, field)


async def test_the_change_counter_counts_every_write(accounts: Accounts, db: Database) -> None:
    before = await db.read(accounts_store.changes)
    record, _ = await accounts.create_key(name="a")
    await accounts.revoke(record.id)
    await accounts.lock_org("default")
    assert await db.read(accounts_store.changes) == before + 3


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        (None, "anything", True),
        (("gpt-image-2",), "gpt-image-2", True),
        (("gpt-image-2",), "gpt-image-2-mini", False),
        (("local/*",), "local/sketch", True),
        (("local/*",), "localhost", False),
        (("*",), "wan", True),
        ((), "wan", False),
        (("short",), "long/name", True),
    ],
)
def test_the_allow_list_takes_ids_prefixes_and_aliases(
    models: tuple[str, ...] | None, model: str, allowed: bool
) -> None:
    key = KeyRecord(KeyId("k"), OrgId("o"), "a", models=models)
    assert key.allows(model, aliases=("short",)) is allowed


async def test_a_key_is_switched_off_and_on_again_and_other_processes_see_it(
    accounts: Accounts, db: Database, clock: ManualClock
) -> None:
    record, token = await accounts.create_key(name="ci", requests_per_minute=5)
    other = Accounts(db, clock)
    await other.start()
    off = await accounts.change_key(record.id, org_id=record.org_id, enabled=False, name="nightly")
    assert (off.name, off.requests_per_minute, off.disabled_at_ms) == ("nightly", 5, clock.now_ms())
    assert not works(accounts, token)
    await other.refresh()
    assert not works(other, token)
    await accounts.change_key(record.id, org_id=record.org_id, enabled=True, requests_per_minute=7)
    assert works(accounts, token) and accounts.lookup(token).requests_per_minute == 7  # type: ignore[union-attr]


async def test_neither_a_revoked_key_nor_anothers_can_be_changed(accounts: Accounts) -> None:
    record, _ = await accounts.create_key(name="ci")
    stranger = await accounts.create_org("stranger")
    await accounts.revoke((await accounts.create_key(name="gone"))[0].id)
    gone = next(one for one in await accounts.list_keys() if one.name == "gone")
    for key_id, org_id in ((record.id, stranger.id), (gone.id, gone.org_id), ("0" * 16, record.org_id)):
        with pytest.raises(Problem) as caught:
            await accounts.change_key(key_id, org_id=org_id, enabled=True)
        assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(Problem) as caught:
        await accounts.change_key(record.id, org_id=record.org_id, requests_per_minute=0)
    assert caught.value.field == "requests_per_minute"


async def test_an_organisation_made_while_the_others_are_read_stays_known(
    accounts: Accounts, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, made = db.read, []

    async def reading(fn: Any, **how: Any) -> Any:
        found = await read(fn, **how)
        if fn is accounts_store.all_orgs:
            made.append(await accounts.create_org("meanwhile"))
        return found

    await accounts.create_org("before")
    monkeypatch.setattr(db, "read", reading)
    assert await accounts.refresh()
    assert accounts.organisation(made[0].id) == made[0]
