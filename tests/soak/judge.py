"""The judgement after a storm: what callers were told, what upstreams were asked and what was charged, side by side."""

import base64
import binascii
import json
import re
from collections import Counter, defaultdict

from msgspec import Struct

from calotype.sandbox.base import Submit
from soak.soak_house import SoakHouse
from soak.storm import SECRET, Sent, Tenant

KEPT_ONCE = 410
"""The answer to PHI that is asked for again after the server that had it died: it was kept nowhere."""
WORKERS = frozenset({"comfyui", "comfyui2", "painter"})
"""Those that bill nobody: what one of them lost may be done again anywhere."""
_HEAD = re.compile(rf"(?:job |{SECRET})(\d{{5}}):".encode())
_BASE64 = re.compile(rb"base64,([A-Za-z0-9+/=]+)")
_REFUSALS = frozenset({401, 402, 429, 503})
"""Statuses by which every upstream says that it did not take a request."""
_MORE = {name: {500} for name in ("azure", "fal", "google", "mistral", "openai")} | {"openrouter": {500, 502}}
"""Those that say so with further ones, when they come at once and with a body."""


class Asked(Struct):
    """What upstreams were asked for one request: how often, and how often somebody who bills did not plainly refuse.

    `names` are those by which upstreams know a call again, of what was not refused.
    """

    times: int = 0
    firm: int = 0
    names: set[str] = set()


def judge(house: SoakHouse, sent: list[Sent], tenants: list[Tenant]) -> Counter[str]:
    """Check everything that was said, done and charged against each other; count."""
    jobs = {row[0]: row[1:] for row in house.read("SELECT id, state, attempt, org_id, charged_micro FROM job")}
    owned = Counter(one.job for one in sent if one.job)
    assert set(owned.values()) == {1}, "two requests were answered with one job"
    assert set(owned) <= set(jobs), "a job that is not there"
    revoked = {row[0] for row in house.read("SELECT job_id FROM event WHERE type = 'job.revoked'")}
    assert all(jobs[job][0] == "failed" for job in revoked)
    silent = set(jobs) - set(owned) - revoked
    assert len(silent) == sum(one.status == KEPT_ONCE for one in sent), "a job nobody was told of"
    counts = Counter(f"job {row[0]}" for row in jobs.values())
    counts["revoked with their server"] = len(revoked)
    submissions: Counter[str] = Counter()
    ambiguous = set()
    for job, state in house.read("SELECT job_id, state FROM submission"):
        submissions[job] += 1
        counts[f"submission {state}"] += 1
        ambiguous |= {job} if state == "ambiguous" else set()
    asked = _asked(house)
    for one in sent:
        counts[f"answer {one.status}"] += 1
        counts["requests repeated after a broken answer"] += one.tries > 1
        state = jobs[one.job][0] if one.job else None
        if one.job in revoked:
            assert one.line.phi, (one, "a stored result was revoked")
            counts["answered and revoked: the server died in the same instant"] += one.status == 200
        else:
            _told(one, state)
        _fair(one, state, asked[one.n], submissions[one.job or ""])
        if state == "failed" and one.passes:
            counts[f"came to nothing by a {'death' if one.job in ambiguous else 'surprise'}"] += 1
        if state is not None:
            counts[f"{state} {one.line.name}"] += 1
    for tenant in tenants:
        spent = sum(row[3] or 0 for row in jobs.values() if row[2] == tenant.org)
        ((posted,),) = house.read(f"SELECT posted_micro FROM account WHERE id = 'org/{tenant.org}'")
        assert posted == tenant.micro - spent >= 0, tenant
        counts["charged micro"] += spent
    for name, _ in house.upstreams.submits:
        counts[f"submits at {name}"] += 1
    return counts


def _told(one: Sent, state: str | None) -> None:
    """The answer says what became of the request."""
    if one.status == KEPT_ONCE:
        assert one.line.phi and one.tries > 1, one
        return
    assert (state is None) == (one.status in (402, 403)), (one, state)
    if one.line.waits:
        assert (one.status == 200) <= (state == "succeeded"), (one, state)
        told_again = one.line.phi and one.tries > 1  # what nobody keeps cannot be answered again
        assert (one.status == 200) == (state == "succeeded") or told_again, (one, state)


def _fair(one: Sent, state: str | None, asked: Asked, submissions: int) -> None:
    """Nothing was sent again that may have been taken, but to those who do the same call once.

    PHI that was answered by a server that died is revoked, and a request sent again is a new one.
    """
    anew = one.tries - 1 if one.line.phi else 0
    assert one.job or asked.times == 0 or one.status == KEPT_ONCE, (one, "sent without money")
    if one.line.keyed:
        assert len(asked.names) <= max(submissions, 1) + anew, (one, asked, "sent again under another name")
    else:
        assert asked.firm <= 1 + anew, (one, asked, "sent again although it was not refused")
    local = one.line.ways[0].provider == "local"
    assert asked.firm or asked.names or local or state != "succeeded", (one, "delivered what nobody made")


def _asked(house: SoakHouse) -> dict[int, Asked]:
    found: dict[int, Asked] = defaultdict(lambda: Asked(names=set()))
    for upstream, submit in house.upstreams.submits:
        heads = _heads(submit.body)
        assert len(heads) == 1, (upstream, submit.path, heads, "a paid request of nobody's")
        asked = found[heads.pop()]
        asked.times += 1
        status, cut = submit.fault.status, submit.fault.cut
        refused = not cut and status in _REFUSALS | _MORE.get(upstream, set())
        asked.firm += not refused and upstream not in WORKERS
        asked.names |= {f"{upstream} {_name(submit)}"} if cut or not status else set()
    return found


def _heads(body: bytes) -> set[int]:
    """Return the numbers of the requests whose words are in a body, also in files that it holds as base64."""
    texts = [body]
    for found in _BASE64.findall(body):
        try:
            texts.append(base64.b64decode(found))
        except binascii.Error:
            continue
    return {int(number) for text in texts for number in _HEAD.findall(text)}


def _name(submit: Submit) -> str:
    """Return the name by which an upstream knows that a call is the same one."""
    if key := submit.headers.get("idempotency-key"):
        return key
    try:
        body = json.loads(submit.body)
    except ValueError:
        return ""
    return str(body.get("prompt_id", "")) if isinstance(body, dict) else ""
