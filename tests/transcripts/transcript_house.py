"""The server of the transcripts: every emulated upstream behind it, files that its users name, and their keys."""

import contextlib
import functools
import http.server
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from calotype.kernel.generation import KeyClass, Scope
from calotype.providers import kie as kie_adapter
from calotype.providers.base import PollSchedule
from calotype.providers.kie_rate import Turnstile
from calotype.sandbox import media
from calotype.sandbox.azure import Azure
from calotype.sandbox.base import Emulator
from calotype.sandbox.bfl import Bfl
from calotype.sandbox.fal import Fal
from calotype.sandbox.google import Google
from calotype.sandbox.kie import Kie
from calotype.sandbox.mistral import Mistral
from calotype.sandbox.openai import OpenAI
from calotype.sandbox.openrouter import OpenRouter
from calotype.sandbox.serve import on_a_thread
from running import House, hurry, running

QUICK = PollSchedule(first_s=0.01, factor=1.01, max_s=0.02)
TOKENS_MICRO = 3_000_000
"""For a million tokens of the models whose price an upstream's list tells."""
SKETCH_MICRO = 1_000
FLUX_MICRO = 25_000
SORA = {
    "sora2-text-to-video": "sora-2-text-to-video", "sora2-video": "sora-2-image-to-video",
    "sora2-character": "sora-2-characters",
}  # fmt: skip
EMULATORS: dict[str, Any] = {
    "azure": Azure, "bfl": Bfl, "fal": Fal, "google": Google, "kie": Kie, "mistral": Mistral, "openai": OpenAI,
    "openrouter": OpenRouter,
}  # fmt: skip


def providers(url: dict[str, str]) -> dict[str, Any]:
    """Return the providers' settings: hosts that speak as OpenAI does are led to its emulator."""
    agreement = {"reference": "DPA-7", "expires": (datetime.now(UTC).date() + timedelta(days=30)).isoformat()}
    resident = {"kind": "openai", "base_url": f"{url['openai']}/v1", "api_key": "sk-sandbox"}
    return {
        "fal": {"api_key": "sandbox:key", "base_url": f"{url['fal']}/queue"},
        "bfl": {"api_key": "bfl-sandbox", "base_url": url["bfl"], "max_in_progress": 1},
        "google": {"api_key": "sandbox-key", "base_url": url["google"]},
        "kie": {"api_key": "kie-sandbox", "base_url": url["kie"], "models": SORA, "max_in_progress": 2},
        "openrouter": {"api_key": "sk-or-v1-sandbox", "base_url": f"{url['openrouter']}/api/v1"},
        "mistral": {"api_key": "mistral-sandbox", "base_url": f"{url['mistral']}/v1"},
        "openai": {"api_key": "sk-sandbox", "base_url": f"{url['openai']}/v1"},
        "infomaniak": {**resident, "phi": agreement},
        "scaleway": {**resident, "phi": agreement},
        "together": resident,
        **{
            f"azure-{place}": {
                "kind": "azure",
                "base_url": f"{url['azure']}/{place}",
                "api_key": "azure-sandbox",
                "phi": agreement,
            }
            for place in ("ch", "us")
        },
    }


@contextlib.contextmanager
def site(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine and yield its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


def files(folder: Path) -> Path:
    """Write what users name in their requests."""
    folder.mkdir()
    (folder / "portrait.png").write_bytes(media.png(512, 512, "portrait"))
    (folder / "mug.png").write_bytes(media.png(512, 512, "mug"))
    (folder / "dance.mp4").write_bytes(media.mp4(4.0, name="dance"))
    (folder / "short.mp4").write_bytes(media.mp4(1.0, name="short"))
    (folder / "speech.wav").write_bytes(media.wav(2.0, "speech"))
    (folder / "logo.png").write_bytes(media.png(16, 16, "logo"))
    (folder / "report.pdf").write_bytes(b"%PDF-1.4\n% a report\n")
    with zipfile.ZipFile(folder / "pictures.zip", "w") as pictures:
        for n in range(4):
            pictures.write(folder / "mug.png", f"{n}.png")
    return folder


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[House, dict[str, str]]]:
    """Serve, and yield the server with the variables that are the same on every page."""
    with contextlib.ExitStack() as stack:
        emulators: dict[str, Emulator] = {
            name: stack.enter_context(on_a_thread(made())) for name, made in EMULATORS.items()
        }
        emulators["kie"].settings["per_window"] = 100_000
        place = files(folder / "files")
        address = stack.enter_context(site(place))
        # emulators name themselves 127.0.0.1 in some answers and localhost in others
        ports = [one.url.rpartition(":")[2] for one in (*emulators.values(),)]
        allowed = [address.removeprefix("http://"), *(f"localhost:{port}" for port in ports)]
        prices = {
            "phaya-gpt": TOKENS_MICRO, "qwen/qwen3-embedding-8b": TOKENS_MICRO, "local/sketch": SKETCH_MICRO,
            "fal-ai/flux/dev": FLUX_MICRO,
        }  # fmt: skip
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(kie_adapter, "Turnstile", lambda: Turnstile(most=100_000))
        settings: dict[str, Any] = {
            "providers": providers({name: one.url for name, one in emulators.items()}),
            "prices": prices, "margin_bps": 1000, "security": {"allowed_private_hosts": allowed},
        }  # fmt: skip
        house = stack.enter_context(running(folder / "data", **settings))
        patch.undo()  # this server's turnstile is made; other servers of this process keep to KIE's rate
        hurry(house, QUICK, "fal", "bfl", "google", "kie")
        house.app.url = house.url
        yield house, {"BASE": house.url, "SITE": address, "FILES": str(place)}


def keys(house: House) -> dict[str, str]:
    """Return the keys of one page: its organisation's, a poor one's, another's, and the shared key for tests."""
    account, poor, other = house.account(), house.account(micro=0), house.account()
    free: dict[str, Any] = {"requests_per_minute": 1_000_000}
    key_id, key = account.keyed(**free)
    return {
        "KEY": key,
        "KEY_ID": key_id,
        "ADMIN": account.key(scopes=(Scope.API, Scope.ADMIN), **free),
        "TEST": account.key(KeyClass.TEST, **free),
        "UNLIMITED": account.key(KeyClass.UNLIMITED, **free),
        "SLOW": account.key(requests_per_minute=1),
        "POOR": poor.key(**free),
        "OTHER": other.key(**free),
        "ORG": account.org.id,
    }
