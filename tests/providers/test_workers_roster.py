"""The list of workers and the places on them, on both stores; secrets; and the choice of a worker."""

import asyncio
import json
import os
import stat
import struct
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from calotype.db import Database, Sql
from calotype.http import Guard
from calotype.kernel.clock import SystemClock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.outcome import Failed, FailedKind
from calotype.providers.workers import store
from calotype.providers.workers.auth import Keyring, NoSecret
from calotype.providers.workers.choose import none_fits, ranked
from calotype.providers.workers.loras import Loras, is_safetensors
from calotype.providers.workers.member import Member
from calotype.providers.workers.roster import Roster, auth_of
from calotype.providers.workers.types import Health, Order, Probe, Run, Worker, WorkerState
from calotype.settings import Settings, WorkerSettings

SECRET = "a-secret-that-nobody-reads"


def keyring(*keys: bytes, variables: dict[str, str] | None = None, given: dict[str, str] | None = None) -> Keyring:
    return Keyring(keys or (b"k" * 32,), variable=(variables or {}).get, given=(given or {}).get)


def worker(name: str = "one", **more: Any) -> Worker:
    return Worker("", "comfyui", "comfyui", name, "http://10.0.0.5:8188/", **more)


@pytest.fixture
def roster(db: Database) -> Roster:
    return Roster(db, SystemClock(), keyring())


# -- the list ---------------------------------------------------------------------------------------------------------


async def test_a_worker_is_kept_as_it_was_given(roster: Roster) -> None:
    given = worker(labels=("fast", "eu"), note="under the desk", loras_dir="/mnt/loras", min_jobs=2, max_jobs=4)
    made = await roster.add(given)
    assert await roster.list() == [(made, 0)]
    assert made.url == "http://10.0.0.5:8188"
    assert replace(made, id="", url=given.url, created_at_ms=0) == given
    assert await roster.find(made.id) == await roster.find("one") == made


async def test_a_name_is_taken_once(roster: Roster) -> None:
    await roster.add(worker())
    with pytest.raises(Problem) as refusal:
        await roster.add(worker())
    assert refusal.value.code is Code.CONFLICT


async def test_places_are_counted_by_the_database_whatever_processes_believe(roster: Roster, db: Database) -> None:
    made = await roster.add(worker(max_jobs=2))

    def reserve(n: int) -> Any:
        run = Run(f"t-{n}", made.id, f"u-{n}", began_at_ms=1)
        return db.write(lambda tx: store.reserve(tx, run, places=2, model_set="wan"))

    assert sorted(await asyncio.gather(*(reserve(n) for n in range(5)))) == [False, False, False, True, True]
    assert [(taken, one.model_set) for one, taken in await roster.list()] == [(2, "wan")]
    held = await db.read(lambda tx: store.runs_to_tidy(tx, made.id, 0))
    await db.write(lambda tx: store.end_run(tx, held[0].token, 5))
    assert await reserve(9)
    again = await db.read(lambda tx: store.run_of(tx, held[0].token))
    assert again is not None and again.ended


async def test_a_draining_worker_gives_no_place(roster: Roster, db: Database) -> None:
    made = await roster.add(worker())
    await roster.set_state("one", WorkerState.DRAINING)
    run = Run("t", made.id, "u", began_at_ms=1)
    assert not await db.write(lambda tx: store.reserve(tx, run, places=2, model_set=""))


async def test_a_worker_with_jobs_is_removed_only_by_force(roster: Roster, db: Database) -> None:
    made = await roster.add(worker())
    await db.write(lambda tx: store.reserve(tx, Run("t", made.id, "u"), places=2, model_set=""))
    with pytest.raises(Problem, match="1 job in hand"):
        await roster.remove("one")
    await roster.remove("one", force=True)
    assert await roster.list() == []
    assert await db.read(lambda tx: store.run_of(tx, "t")) is None


async def test_workers_of_the_settings_come_change_and_go_and_keep_their_state(roster: Roster) -> None:
    await roster.keep_to({"gpu": WorkerSettings(url="http://a")})
    await roster.set_state("gpu", WorkerState.DRAINING)
    await roster.keep_to({"gpu": WorkerSettings(url="http://b", max_jobs=3)})
    ((found, _),) = await roster.list()
    assert (found.url, found.max_jobs, found.state, found.origin) == ("http://b", 3, WorkerState.DRAINING, "settings")
    with pytest.raises(Problem, match="stands in the settings"):
        await roster.remove("gpu")
    await roster.add(worker("other"))
    with pytest.raises(Problem, match="added by a command"):
        await roster.keep_to({"other": WorkerSettings(url="http://a")})
    await roster.keep_to({})
    assert [one.name for one, _ in await roster.list()] == ["other"]


# -- secrets ----------------------------------------------------------------------------------------------------------


async def test_a_sealed_secret_opens_here_for_this_worker_alone(roster: Roster, db: Database) -> None:
    made = await roster.add(worker(), secret=SECRET, header="X-Key")
    assert roster.keyring.headers(made) == {"X-Key": SECRET}
    ((kept,),) = await db.read(lambda tx: tx.rows(Sql("SELECT auth FROM worker")))
    assert SECRET not in kept and json.loads(kept)["place"] == "sealed"
    rotated = keyring(b"new" * 11, b"k" * 32)
    assert rotated.headers(made) == {"X-Key": SECRET}
    for stranger, one in ((keyring(b"x" * 32), made), (roster.keyring, replace(made, id="another"))):
        with pytest.raises(NoSecret, match="sealed by another server") as refusal:
            stranger.headers(one)
        assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("place", ["env", "file", "settings"])
def test_a_secret_that_lies_elsewhere_is_read_there(place: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    value = {"env": "TOKEN", "file": str(tmp_path / "token"), "settings": ""}[place]
    one = worker(auth=auth_of(None, place, value))
    found = keyring(variables={"TOKEN": SECRET}, given={"one": SECRET})
    assert found.headers(one) == {"Authorization": f"Bearer {SECRET}"}
    (tmp_path / "token").unlink()
    with pytest.raises(NoSecret):
        keyring().headers(one)


@pytest.mark.parametrize("secret", ["two\nlines", "with\x00null", "ümlaut"])
async def test_a_secret_that_cannot_be_a_header_is_refused(roster: Roster, secret: str) -> None:
    with pytest.raises(Problem) as refusal:
        await roster.add(worker(), secret=secret)
    assert secret not in refusal.value.message


def test_a_token_in_the_settings_is_never_shown() -> None:
    settings = Settings(workers={"gpu": WorkerSettings(url="http://a", token=SECRET)})  # type: ignore[arg-type]
    assert SECRET not in repr(settings)


# -- the choice -------------------------------------------------------------------------------------------------------


class Hands:
    """A clock that a test puts forward."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


ORDER = Order("krea@1", "krea", frozenset({"KSampler"}), {"vae": frozenset({"ae.safetensors"})}, swap_s=45.0)


def member(name: str, clock: Hands | None = None, **more: Any) -> Member:
    one = Member(replace(worker(name, **more), id=name), {}, clock or Hands())
    one.heard(Probe("0.3.75"))
    one.learn({"KSampler": True}, {"vae": frozenset({"ae.safetensors"})})
    return one


def names(members: list[Member]) -> list[str]:
    return [one.worker.name for one in members]


def test_the_worker_with_the_weights_comes_first_unless_it_is_much_busier() -> None:
    cold, warm = member("cold"), member("warm", max_jobs=20)
    warm.model_set = "krea"
    assert names(ranked([cold, warm], ORDER)) == ["warm", "cold"]
    warm.taken = 12
    assert names(ranked([cold, warm], ORDER)) == ["cold", "warm"]


def test_a_worker_that_failed_the_job_or_is_unwell_comes_last() -> None:
    well, unwell, tried = member("well"), member("unwell"), member("tried")
    unwell.missed()
    assert names(ranked([tried, unwell, well], ORDER, {"tried"})) == ["well", "unwell", "tried"]


def test_a_worker_with_too_little_memory_comes_after_one_that_has_enough() -> None:
    small, large = member("small"), member("large")
    small.model_set = "krea"
    small.heard(Probe("0.3.75", vram_bytes=12 << 30))
    large.heard(Probe("0.3.75", vram_bytes=24 << 30))
    assert names(ranked([small, large], replace(ORDER, vram_gb=16))) == ["large", "small"]
    assert names(ranked([small, large], replace(ORDER, vram_gb=12))) == ["small", "large"]


def test_full_draining_silent_and_lacking_workers_are_not_chosen() -> None:
    full, drains, silent, lacks = member("full"), member("drains"), member("silent"), member("lacks")
    full.taken = 2
    drains.worker = replace(drains.worker, state=WorkerState.DRAINING)
    for _ in range(3):
        silent.missed()
    lacks.learn({}, {"vae": frozenset()})
    assert ranked([full, drains, silent, lacks], ORDER) == []


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (None, FailedKind.GONE, "No comfyui worker is set up"),
        ("full", FailedKind.RETRY, "is busy"),
        ("drain", FailedKind.RETRY, "take no new jobs"),
        ("silent", FailedKind.RETRY, "cannot be reached"),
        ("file", FailedKind.GONE, "vae/ae.safetensors is missing"),
        ("node", FailedKind.GONE, "the node KSampler is missing"),
        ("old", FailedKind.GONE, "ComfyUI 0.4"),
        ("quarantine", FailedKind.GONE, "could not be loaded"),
    ],
)
def test_it_is_said_why_there_is_no_worker(spoil: str | None, kind: FailedKind, words: str) -> None:
    one, order = member("one"), ORDER
    match spoil:
        case "full":
            one.taken = 2
        case "drain":
            one.worker = replace(one.worker, state=WorkerState.DRAINING)
        case "silent":
            for _ in range(3):
                one.missed()
            one.learn({"KSampler": True}, {"vae": frozenset({"ae.safetensors"})})
        case "file":
            one.learn({}, {"vae": frozenset()})
        case "node":
            one.learn({"KSampler": False}, {})
        case "old":
            order = replace(ORDER, version="0.4")
        case "quarantine":
            one.quarantine("krea@1")
            one.learn({"KSampler": True}, {"vae": frozenset({"ae.safetensors"})})
    failed = none_fits([] if spoil is None else [one], order, "comfyui")
    assert failed.kind is kind and words in failed.message
    assert failed.requeue is (spoil == "full")


def test_health_follows_what_is_seen() -> None:
    clock = Hands()
    one = Member(worker(), {}, clock)
    assert one.health is Health.UNKNOWN
    one.heard(Probe("0.3.75"))
    assert one.health is Health.HEALTHY
    one.missed(refused=True)
    assert one.health is Health.DEGRADED
    one.missed(refused=True)
    one.missed(refused=True)
    assert one.health is Health.UNREACHABLE and one.refuses
    clock.now_s += 7
    assert one.silent_s == 7
    one.heard(Probe("0.3.75"))
    assert one.health is Health.HEALTHY and one.silent_s == 0
    for _ in range(3):
        one.heard(Probe(facts={"error": "HTTP 502"}))
    assert one.health is Health.UNREACHABLE
    one.heard(Probe("0.3.75"))
    one.failed()
    assert one.health is Health.HEALTHY
    one.failed()
    assert one.health is Health.DEGRADED
    clock.now_s += 31
    assert one.health is Health.HEALTHY
    one.stuck = "p"
    assert not one.usable


def test_an_http_worker_is_given_what_it_reports_within_the_operators_bounds() -> None:
    one = Member(worker(min_jobs=2, max_jobs=8), {})
    assert one.places == 8
    for reported, places in ((5, 5), (1, 2), (20, 8)):
        one.heard(Probe(capacity=reported))
        assert one.places == places


# -- LoRAs by URL -----------------------------------------------------------------------------------------------------


def tensors(header: Any = None, size: int = 16) -> bytes:
    head = json.dumps(header or {"a": {"dtype": "F16", "shape": [8], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(head)) + head + bytes(size)


@pytest.mark.parametrize(
    ("body", "good"),
    [
        (tensors(), True),
        (tensors({"__metadata__": {"a": "b"}, "a": {"dtype": "F16", "shape": [8], "data_offsets": [0, 16]}}), True),
        (tensors(size=8), False),
        (tensors({"a": 1}), False),
        (tensors({"__metadata__": {}}), False),
        (b"PK\x03\x04" + bytes(100), False),
        (b"x", False),
        (struct.pack("<Q", 1 << 62) + b"{}", False),
        (struct.pack("<Q", 1 << 16) + b"[" * (1 << 17), False),
        (struct.pack("<Q", 8) + b'{"a\xff":1}' + bytes(9), False),
    ],
)
def test_only_files_of_tensors_are_taken(body: bytes, good: bool, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(body)
    assert is_safetensors(tmp_path / "a") is good


async def test_a_lora_is_fetched_once_into_the_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    async def fetch(url: str, *, to: Any, **_: Any) -> None:
        fetched.append(url)
        await to.write(tensors() if "good" in url else b"MZ" + bytes(99))

    monkeypatch.setattr("calotype.providers.workers.loras.download", fetch)
    loras, shared = Loras(Guard()), tmp_path / "loras"
    shared.mkdir()
    url = "https://example.com/good.safetensors"
    one, two = await asyncio.gather(loras.bring(url, str(shared), "lora"), loras.bring(url, str(shared), "lora"))
    assert one == two == await loras.bring(url, str(shared), "lora")
    assert isinstance(one, str) and fetched == [url]
    assert stat.S_IMODE((shared / one).stat().st_mode) == 0o644
    bad = await loras.bring("https://example.com/bad", str(shared), "lora")
    assert isinstance(bad, Failed) and (bad.kind, bad.field) == (FailedKind.INVALID, "lora")
    away = await loras.bring("https://example.com/good2", str(tmp_path / "unmounted"), "lora")
    assert isinstance(away, Failed) and away.kind is FailedKind.RETRY
    assert list((shared / "calotype").iterdir()) == [shared / one]


async def test_loras_by_url_fill_no_disk_for_those_wanted_longest_ago_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch(_url: str, *, to: Any, **_: Any) -> None:
        await to.write(tensors())

    monkeypatch.setattr("calotype.providers.workers.loras.download", fetch)
    (tmp_path / "calotype").mkdir()
    own = tmp_path / "calotype" / "notes.txt"
    own.write_text("the operator's own")
    loras = Loras(Guard(), max_kept_bytes=2 * len(tensors()))
    names = []
    for n in range(3):
        names.append(await loras.bring(f"https://example.com/{n}", str(tmp_path), "lora"))
        os.utime(tmp_path / str(names[-1]), (n + 1, n + 1))
        if n == 1:
            assert await loras.bring("https://example.com/0", str(tmp_path), "lora") == names[0]
    there = {one.name for one in own.parent.iterdir()}
    assert there == {own.name, *(Path(str(name)).name for name in (names[0], names[2]))}


async def test_a_lora_at_a_private_address_is_not_fetched(tmp_path: Path) -> None:
    found = await Loras(Guard()).bring("http://127.0.0.1:1/a.safetensors", str(tmp_path), "lora")
    assert isinstance(found, Failed) and found.kind is FailedKind.INVALID
