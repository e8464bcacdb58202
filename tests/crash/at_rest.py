"""What holds of a house at rest, whoever its upstreams are: the ledger, every hold, every charge, every file."""

import hashlib
from collections.abc import Mapping

from calotype.media.local import LocalStore
from crash.house import House
from faults.invariants import broken_rules


def rests(house: House, prices: Mapping[str, int], outputs: Mapping[str, int] | None = None) -> None:
    """Check that nothing is held, that each success cost its model's price once, and that every file is whole.

    `outputs` says of which models a request brings several files: those that are missing are not charged.
    """
    assert broken_rules(house.tx()) == []
    assert house.read("SELECT id FROM hold WHERE state = 'open'") == []
    assert house.read("SELECT id, held_micro FROM account WHERE id LIKE 'org/%' AND held_micro <> 0") == []
    _charged(house, prices, outputs or {})
    _granted(house)
    _whole(house)


def _charged(house: House, prices: Mapping[str, int], outputs: Mapping[str, int]) -> None:
    """One capture for a success, of the price, and none for anything else."""
    rows = house.read(
        "SELECT j.id, j.model, j.state, COALESCE(j.charged_micro, 0),"
        " (SELECT COUNT(*) FROM journal c WHERE c.job_id = j.id AND c.kind = 'capture')"
        " - (SELECT COUNT(*) FROM journal c WHERE c.job_id = j.id AND c.kind = 'reversal'),"
        " (SELECT COUNT(*) FROM artifact a WHERE a.job_id = j.id) FROM job j"
    )
    for job, model, state, charged, captures, files in rows:
        due = -(-prices[model] * files // outputs[model]) if outputs.get(model, 1) > 1 else prices[model]
        assert (charged, captures) == ((due, 1) if state == "succeeded" else (0, 0)), (job, model, state)


def _granted(house: House) -> None:
    """Every organisation has what it was given less what its jobs say they were charged."""
    rows = house.read(
        "SELECT a.id, a.posted_micro,"
        " COALESCE((SELECT SUM(e.amount_micro) FROM entry e JOIN journal c ON c.id = e.journal_id"
        " WHERE e.account_id = a.id AND c.kind NOT IN ('capture', 'reversal')), 0)"
        " - COALESCE((SELECT SUM(j.charged_micro) FROM job j WHERE 'org/' || j.org_id = a.id), 0)"
        " FROM account a WHERE a.id LIKE 'org/%'"
    )
    for account, posted, wanted in rows:
        assert posted == wanted >= 0, account


def _whole(house: House) -> None:
    """Each file is as its row says."""
    for key, digest, size in house.read("SELECT key, sha256, size_bytes FROM artifact"):
        body = LocalStore(house.folder / "data" / "media").path_of(key).read_bytes()
        assert (hashlib.sha256(body).hexdigest(), len(body)) == (digest, size), key
