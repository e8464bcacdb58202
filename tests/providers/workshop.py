"""A running server whose models run on emulated ComfyUI workers, and what a test looks at there."""

import base64
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from calotype.kernel.generation import KeyClass
from calotype.kernel.job import JobState
from calotype.providers.workers.member import Member
from calotype.sandbox.comfyui import ComfyUI
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

PRICE_MICRO = 10_000
MOST_S = 30.0
CARDS = """
[[cards]]
id = "w/card"
title = "Test card"
operation = "text-to-image"
output = "image"
price = { unit = "image", micro = 10_000 }
[cards.input]
required = ["prompt"]
properties = { prompt = { type = "string" }, n = { type = "integer", minimum = 1, maximum = 4, default = 1 } }
[cards.example]
prompt = "x"
[[cards.routes]]
provider = "comfyui"
upstream = "test-card@1"

[[cards]]
id = "w/krea"
title = "Krea"
operation = "text-to-image"
output = "image"
price = { unit = "image", micro = 10_000 }
[cards.input]
required = ["prompt"]
[cards.input.properties]
prompt = { type = "string" }
size = { "$ref" = "_shared.toml#/size" }
n = { type = "integer", minimum = 1, maximum = 8, default = 1 }
seed = { type = "integer" }
[cards.example]
prompt = "x"
[[cards.routes]]
provider = "comfyui"
upstream = "flux-krea-dev@1"

[[cards]]
id = "w/lora"
title = "FLUX with a LoRA"
operation = "text-to-image"
output = "image"
price = { unit = "image", micro = 10_000 }
[cards.input]
required = ["prompt"]
properties = { prompt = { type = "string" }, lora_url = { type = "string" } }
[cards.example]
prompt = "x"
[[cards.routes]]
provider = "comfyui"
upstream = "flux-dev-lora@1"

[[cards]]
id = "w/move"
title = "Moving picture"
operation = "image-to-video"
output = "video"
price = { unit = "request", micro = 10_000 }
[cards.input]
required = ["prompt", "image_url"]
[cards.input.properties]
prompt = { type = "string" }
image_url = { type = "string", x-media = "image" }
seconds = { type = "number" }
[cards.example]
prompt = "x"
image_url = "https://example.com/a.png"
[[cards.routes]]
provider = "comfyui"
upstream = "wan22-i2v@1"

[[cards]]
id = "w/model"
title = "A model of one's own"
operation = "text-to-image"
output = "image"
price = { unit = "image", micro = 10_000 }
[cards.input]
required = ["prompt"]
[cards.input.properties]
prompt = { type = "string" }
image_url = { type = "string", x-media = "image" }
seconds = { type = "number" }
[cards.example]
prompt = "x"
[[cards.routes]]
provider = "http"
upstream = "painter"
"""


class Workshop:
    """The server, its workers and one account with a key."""

    def __init__(self, house: House, emulators: dict[str, ComfyUI]) -> None:
        self.house = house
        self.emulators = emulators
        self.renew()

    def renew(self) -> None:
        """Be another tenant from now on."""
        self.account: Account = self.house.account()
        self.key = self.account.key(KeyClass.PAID)
        headers = {"Authorization": f"Bearer {self.key}"}
        self.client = httpx2.Client(base_url=self.house.url, timeout=60, headers=headers)

    def draw(self, prompt: str = "a lighthouse", model: str = "w/krea", **more: Any) -> httpx2.Response:
        """Ask for a picture and wait for it."""
        return self.client.post("/v1/images/generations", json={"model": model, "prompt": prompt, **more})

    def drawing(self, prompt: str, model: str = "w/krea", key: str | None = None, **more: Any) -> "Drawing":
        """Ask for a picture on a thread of its own."""
        return Drawing(self, prompt, model, key or self.key, more)

    def jobs(self) -> list[tuple[Any, ...]]:
        """Return id and state of this tenant's jobs, oldest first."""
        return self.house.rows("SELECT id, state FROM job WHERE org_id = :org ORDER BY id", org=self.account.org.id)

    def cancel(self, job_id: str) -> str:
        """Cancel a job and return what became of the wish."""
        outcome = self.house.ask(self.house.app.engine.cancel(job_id, self.account.org.id))
        return str(outcome.word)

    def act(self, emulator: ComfyUI, order: str) -> None:
        """Do something to a worker."""
        httpx2.post(f"{emulator.url}/__control__", json={"do": [order]}).raise_for_status()

    def charged(self, times: int) -> None:
        """So many pictures were paid, and nothing is held."""
        assert (self.account.spent_micro, self.account.held_micro) == (times * PRICE_MICRO, 0)

    def runs(self, state: str = "open") -> list[tuple[Any, ...]]:
        """Return token and worker of the places that are held."""
        rows = "SELECT r.token, w.name FROM worker_run r JOIN worker w ON w.id = r.worker_id WHERE r.state = :state"
        return self.house.rows(rows, state=state)

    def member(self, name: str) -> Member:
        """Return what the server knows of a worker."""
        runtimes = self.house.app.crew.runtimes.values()
        return next(m for r in runtimes for m in r.fleet.members.values() if m.worker.name == name)

    def until(self, true: Callable[[], Any], what: str, within_s: float = MOST_S) -> Any:
        """Look again and again until something is true."""
        end_s = time.monotonic() + within_s
        while not (found := true()):
            assert time.monotonic() < end_s, f"waited {within_s} s for {what}; {self.jobs()}"
            time.sleep(0.02)
        return found

    def state(self, *states: JobState) -> Callable[[], bool]:
        """Return whether the newest job is in one of these states."""
        return lambda: bool(self.jobs()) and self.jobs()[-1][1] in states

    @property
    def log(self) -> str:
        """What the server wrote."""
        return (self.house.app.settings.data_dir / "server.log").read_text()


def bodies(answer: httpx2.Response) -> list[bytes]:
    """Return the pictures of an answer."""
    assert answer.status_code == 200, answer.text
    return [httpx2.get(one["url"]).raise_for_status().content for one in answer.json()["data"]]


def graphs(emulator: ComfyUI) -> list[dict[str, Any]]:
    """Return what a worker was sent, in order."""
    return [submit.json() for submit in list(emulator.submits)]


def uri(body: bytes, kind: str = "image/png") -> str:
    """Return a file as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"


class Drawing:
    """A request that waits for its picture on a thread."""

    def __init__(self, shop: Workshop, prompt: str, model: str, key: str, more: dict[str, Any]) -> None:
        self.response: httpx2.Response | None = None

        def ask() -> None:
            body = {"model": model, "prompt": prompt, **more}
            with httpx2.Client(base_url=shop.house.url, timeout=60) as client:
                self.response = client.post(
                    "/v1/images/generations", json=body, headers={"Authorization": f"Bearer {key}"}
                )

        self._thread = threading.Thread(target=ask, daemon=True)
        self._thread.start()

    def result(self, within_s: float = MOST_S) -> httpx2.Response:
        """Wait for the answer."""
        self._thread.join(within_s)
        assert self.response is not None, "no answer in time"
        return self.response


@contextlib.contextmanager
def workshop(
    folder: Path, *emulators: ComfyUI, workers: dict[str, Any] | None = None, **more: Any
) -> Iterator[Workshop]:
    """Serve with these emulators as workers; `workers` are settings for some of them, by name, or further workers."""
    cards = folder / "cards"
    cards.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (cards / "workers.toml").write_text(CARDS)
    open_to_all = {"key_classes": ["paid", "test", "unlimited"]}
    with contextlib.ExitStack() as stack:
        for emulator in emulators:
            stack.enter_context(on_a_thread(emulator))
        named = dict(workers or {})
        for emulator in emulators:
            token = {} if emulator.token is None else {"token": emulator.token}
            named[emulator.name] = {"url": emulator.url, **token, **named.get(emulator.name, {})}
        providers = {"comfyui": open_to_all, "http": open_to_all}
        house = stack.enter_context(
            running(folder / "data", cards_dir=cards, workers=named, **{"providers": providers, **more})
        )
        yield Workshop(house, {one.name: one for one in emulators})
