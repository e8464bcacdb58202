"""A server whose providers are emulators, and a caller of its jobs API."""

import asyncio
import base64
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from calotype.jobs.views import load_views
from calotype.kernel.generation import KeyClass
from calotype.kernel.ids import JobId
from calotype.kernel.job import JobState
from calotype.providers import kie as kie_adapter
from calotype.providers.base import PollSchedule
from calotype.providers.kie_rate import Turnstile
from calotype.sandbox import media
from calotype.sandbox.google import Google
from calotype.sandbox.kie import Kie
from calotype.sandbox.openrouter import OpenRouter
from calotype.sandbox.serve import on_a_thread
from running import Account, House, hurry, running

CREDIT = 30_000
"""Micro-USD."""
CHAT_MICRO = 3_000_000
"""For a million tokens, in micro-USD: a token is a ten-thousandth of a credit."""
FOREVER = "@polls=1000000"
"""In a prompt: KIE goes on until it is told to finish."""
SORA = {
    "sora2-text-to-video": "sora-2-text-to-video", "sora2-video": "sora-2-image-to-video",
    "sora2-character": "sora-2-characters",
}  # fmt: skip
QUICK = PollSchedule(first_s=0.01, factor=1.01, max_s=0.02)


def uri(kind: str, body: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"


PORTRAIT = uri("image/png", media.png(320, 320, "portrait"))
FILM = uri("video/mp4", media.mp4(4.0, name="dance"))
SHORT_FILM = uri("video/mp4", media.mp4(1.0, name="short"))
SOUND = uri("audio/wav", media.wav(1.0, "sound"))


def micro(amount: str) -> int:
    """Return an amount of credits in micro-USD."""
    return int(Decimal(amount) * CREDIT)


class Emulated(msgspec.Struct):
    """The upstreams."""

    kie: Kie
    google: Google
    openrouter: OpenRouter

    def reset(self) -> None:
        for one in (self.kie, self.google, self.openrouter):
            one.reset()
        self.kie.settings["per_window"] = 100_000

    def finish(self, ending: str = "") -> None:
        """Let what is being made at KIE end now."""
        for task in self.kie.tasks.values():
            task.polls = 0
            if ending:
                task.words[ending] = "true"

    @property
    def submits(self) -> int:
        return sum(len(one.submits) for one in (self.kie, self.google, self.openrouter))

    def providers(self, **more: Any) -> dict[str, Any]:
        kie = {"api_key": "kie-key-5f0c2ad1", "base_url": self.kie.url, "read_timeout_s": 5, "models": SORA, **more}
        google = {"api_key": "google-key-5f0c2ad1", "base_url": self.google.url, "read_timeout_s": 5, **more}
        openrouter = {"api_key": "sk-or-v1-5f0c2ad1", "base_url": f"{self.openrouter.url}/api/v1", "read_timeout_s": 5}
        return {"kie": kie, "google": google, "openrouter": openrouter}


def emulated() -> Iterator[Emulated]:
    upstreams = Emulated(Kie(), Google(), OpenRouter())
    with on_a_thread(upstreams.kie), on_a_thread(upstreams.google), on_a_thread(upstreams.openrouter):
        yield upstreams


def serving(upstreams: Emulated, folder: Path, **more: Any) -> Iterator[House]:
    """Serve, looking at upstreams many times a second."""
    prices = {"phaya-gpt": CHAT_MICRO, "qwen/qwen3-embedding-8b": CHAT_MICRO}
    ports = [one.url.rpartition(":")[2] for one in (upstreams.kie, upstreams.google, upstreams.openrouter)]
    hosts = [f"localhost:{port}" for port in ports]
    settings = {"prices": prices, "security": {"allowed_private_hosts": hosts}, **more}
    patch = pytest.MonkeyPatch()
    patch.setattr(kie_adapter, "Turnstile", lambda: Turnstile(most=100_000))
    with running(folder, **{"providers": upstreams.providers(), **settings}) as house:
        patch.undo()  # this server's turnstile is made; other servers of this process keep to KIE's rate
        hurry(house, QUICK, "kie")
        house.app.url = house.url
        yield house


class JobsUser:
    """Calls the jobs API as its skill describes it."""

    def __init__(self, account: Account, key_class: KeyClass = KeyClass.PAID, **bounds: Any) -> None:
        self.account = account
        self.house = account.house
        self.key = account.key(key_class, **bounds)
        self.http = httpx2.Client(
            base_url=f"{self.house.url}/api/v1", headers={"Authorization": f"Bearer {self.key}"}, timeout=60
        )

    def get(self, path: str, **query: Any) -> httpx2.Response:
        return self.http.get(path, params=query)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        return self.http.post(path, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})

    def made(self, path: str, **fields: Any) -> str:
        """Make a job and return its id."""
        answer = self.post(path, fields)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert set(body) - {"warnings"} == {"job_id"}
        ident: str = body["job_id"]
        return ident

    def ended(self, status_path: str, ident: str) -> dict[str, Any]:
        """Wait for a job's end and return its status."""
        self.house.ask(self.house.app.engine.wait(JobId(ident), 60))
        return self.status(status_path, ident)

    def status(self, status_path: str, ident: str) -> dict[str, Any]:
        answer = self.get(f"{status_path}/{ident}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        assert {"job_id", "status", "error"} <= set(body) and body["job_id"] == ident
        return body

    def begun(self, ident: str) -> None:
        """Wait until the upstream has taken a job."""
        self.house.ask(_begun(self.house, JobId(ident)))

    @property
    def balance(self) -> Decimal:
        return self.decimal("/user/credits")["credits_balance"]

    def decimal(self, path: str, **query: Any) -> Any:
        """Return an answer with its numbers exact."""
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json(parse_float=Decimal, parse_int=Decimal)

    def fetched(self, url: str) -> bytes:
        return self.http.get(url).raise_for_status().content


async def _begun(house: House, job_id: JobId) -> None:
    app = house.app
    while True:
        changed = app.bus.subscribe(job_id)
        try:
            view = (await app.db.read(lambda tx: load_views(tx, [job_id])))[job_id]
            if view.state not in (JobState.QUEUED, JobState.SUBMITTING):
                return
            await asyncio.wait((changed,), timeout=5)
        finally:
            app.bus.unsubscribe(job_id, changed)


def refused(answer: httpx2.Response, status: int, said: str = "", field: str | None = None) -> Any:
    """Check a refusal: its status, that it is a detail and nothing else, and what it says and names."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"detail"}, body
    detail = body["detail"]
    if field is not None:
        assert detail[0]["loc"][-1] == field, detail
        assert set(detail[0]) == {"type", "loc", "msg"}
    assert said in (detail if isinstance(detail, str) else detail[0]["msg"]), detail
    assert answer.headers["x-phi-attempts"] == "0" and answer.headers["x-phi-cost-micro"] == "0"
    return detail
