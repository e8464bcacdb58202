"""`calotype demo` (behind `make demo`): a real server, a real key, a real charge, one result, from nothing."""

import base64
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from shlex import quote
from typing import Annotated

import msgspec
import typer

from calotype.app import App
from calotype.cli.ask import FAL_KINDS, Kind, Made, Wish, make
from calotype.cli.client import Client
from calotype.cli.neighbour import engine_runs, log_tail, server
from calotype.cli.opened import with_settings
from calotype.cli.terminal import Failure, facts, progress_bar, say
from calotype.kernel.errors import Problem
from calotype.kernel.generation import KeyClass
from calotype.kernel.ids import OrgId
from calotype.kernel.money import MICRO, usd
from calotype.ledger.types import Balance
from calotype.settings import USUAL_VARIABLES, Settings

PROMPTS: dict[Kind, str] = {
    "image": "three penguins in the snow under the moon",
    "video": "three penguins in the snow under the moon",
    "speech": "The evening train to Geneva leaves at half past nine.",
    "music": "calm piano with soft strings in D major",
    "avatar": "Hello there. I am only a drawing, but I can read this aloud.",
}
MODELS: dict[Kind, str] = {
    "image": "local/sketch",
    "video": "local/sketch-video",
    "speech": "local/tts",
    "music": "local/music",
    "avatar": "local/avatar",
}
NEEDS: dict[Kind, tuple[str, ...]] = {"speech": ("hibari",), "avatar": ("hibari", "ai_edge_litert")}
"""Packages of the [local] extra."""
PRICES = dict.fromkeys(MODELS.values(), 1000) | {"local/tts": 20_000_000}
"""What the demo asks for its free models, in micro-USD a unit, so that a charge can be seen.

The unit is an image, a second, or a million characters.
"""
MUSIC_S = 10.0


def demo(
    prompt: Annotated[str, typer.Argument(help="What to draw, say or play.")] = "",
    operation: Annotated[Kind, typer.Option(help="What to make.")] = "image",
    folder: Annotated[Path, typer.Option("--output", "-o", help="Where everything goes.")] = Path("demo-output"),
) -> None:
    """Show the whole way of a request on this machine: server, key, money, result, charge."""
    began_s = time.monotonic()
    _need_extra(operation)
    folder.mkdir(parents=True, exist_ok=True)
    data_dir = _fresh(folder)
    _forget_settings()
    settings = Settings(data_dir=data_dir)
    key, org_id, before = with_settings(settings, _open_account)
    log = folder / "server.log"
    wish = Wish(
        prompt=prompt or PROMPTS[operation],
        model=MODELS[operation],
        seconds=MUSIC_S if operation == "music" else None,
        image_url=portrait() if operation == "avatar" else None,
    )
    say(f"Starting a server with the fresh data directory {data_dir} …")
    try:
        with server(data_dir, log) as url:
            say(f"It listens on {url}. Asking {wish.model} for: {wish.prompt}")
            with progress_bar() as bar:
                line = bar.add_task(operation, total=100 if operation == "video" else None)
                made = make(
                    Client(url, key), wish, operation, folder, lambda percent: bar.update(line, completed=percent)
                )
            after = with_settings(settings, lambda app: app.ledger.balance(org_id))
    except Problem as problem:
        raise Failure(f"The demo failed: {problem.message}\nThe server's log ends:\n{log_tail(log)}") from None
    _tell(made, before, after, data_dir, key, time.monotonic() - began_s)


def _need_extra(operation: Kind) -> None:
    """Refuse early what the server would refuse, in a sentence that says how to have it."""
    missing = [name for name in NEEDS.get(operation, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise Failure(
            f"The {operation} demo needs {' and '.join(missing)} of the [local] extra, which is not installed: "
            f'run make demo OPERATION={operation}, or pip install "calotype[local]".'
        )


def portrait() -> str:
    """Return a drawn face as a data URI, good enough for a detector of faces."""
    from PIL import Image, ImageDraw, ImageFilter  # noqa: PLC0415  (nothing else of the command line needs it)

    side, scale = 256, 4
    image = Image.new("RGB", (side * scale, side * scale), (120, 140, 160))
    pen = ImageDraw.Draw(image)

    def oval(x: float, y: float, wide: float, high: float, colour: tuple[int, int, int]) -> None:
        pen.ellipse([(x - wide) * scale, (y - high) * scale, (x + wide) * scale, (y + high) * scale], fill=colour)

    oval(128, 260, 110, 60, (60, 70, 110))  # shoulders
    oval(128, 205, 26, 40, (200, 150, 120))  # neck
    oval(128, 112, 74, 88, (60, 40, 28))  # hair
    oval(128, 128, 60, 76, (224, 172, 140))  # face
    oval(128, 140, 9, 14, (206, 150, 120))  # nose, its light and its nostrils
    oval(128, 134, 6, 14, (236, 188, 156))
    oval(122, 150, 3, 2, (150, 95, 75))
    oval(134, 150, 3, 2, (150, 95, 75))
    oval(128, 172, 22, 7, (176, 70, 70))  # lips
    pen.rectangle([106 * scale, 171 * scale, 150 * scale, 172 * scale], fill=(110, 35, 40))
    for x in (103, 153):  # brows and eyes
        oval(x, 98, 15, 4, (70, 45, 30))
        oval(x, 114, 13, 7, (245, 240, 235))
        oval(x, 114, 7, 7, (80, 50, 30))
    body = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(0.9 * scale)).resize((512, 512), Image.Resampling.LANCZOS).save(body, "png")
    return f"data:image/png;base64,{base64.b64encode(body.getvalue()).decode()}"


async def _open_account(app: App) -> tuple[str, OrgId, Balance]:
    record, text = await app.accounts.create_key(name="demo", key_class=KeyClass.PAID)
    return text, record.org_id, await app.ledger.credit(record.org_id, MICRO, memo="demo")


def _fresh(folder: Path) -> Path:
    """Return an empty data directory; that of an earlier demo is replaced unless somebody serves it."""
    data_dir = folder / "data"
    if engine_runs(data_dir):
        return Path(tempfile.mkdtemp(prefix="data-", dir=folder))
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(mode=0o700)
    return data_dir


def _forget_settings() -> None:
    """Let nothing count but the demo's own settings, here and in the server: no real key, no real database."""
    for name in list(os.environ):
        if name.upper().startswith("CALOTYPE_") or name in USUAL_VARIABLES:
            del os.environ[name]
    os.environ["CALOTYPE_CONFIG"] = os.devnull
    os.environ["CALOTYPE_PRICES"] = msgspec.json.encode(PRICES).decode()


def _tell(made: Made, before: Balance, after: Balance, data_dir: Path, key: str, took_s: float) -> None:
    price = f"{usd(made.price_micro)} charged"
    facts(
        [
            *(("file", file) for file in made.files),
            *(("media URL", url) for url in made.urls),
            ("model", made.model if made.label is None else f"{made.model} ({made.label})"),
            ("price", price),
            ("balance", f"{usd(before.posted_micro)} before, {usd(after.posted_micro)} after"),
            ("job", made.job_id),
            ("time", f"{made.seconds:.1f} s for the request, {took_s:.1f} s for the whole demo"),
            *(("warning", warning) for warning in made.warnings),
        ]
    )
    program = quote(_program())
    shown = {name: PRICES[name] for name in ("local/sketch", made.model)}
    prices = quote(msgspec.json.encode(shown).decode())
    say(
        "\nThe server has stopped again. To keep one running on the same data:\n\n"
        f"  CALOTYPE_PRICES={prices} {program} serve --port 8700 --data-dir {quote(str(data_dir))}\n\n"
        "and from another terminal:\n\n"
        f"  {program} generate {_again(made.kind)} --data-dir {quote(str(data_dir))}\n"
        f"  curl -s http://127.0.0.1:8700{_curl(made, key)}\n"
    )


def _again(kind: Kind) -> str:
    if kind in ("speech", "music"):
        return f"{quote(PROMPTS[kind])} --operation {kind}"
    return "'a red fox in a birch wood'"


def _curl(made: Made, key: str) -> str:
    """Return the rest of a request that works: for sound through the fal dialect, else through OpenAI's."""
    if made.kind in ("speech", "music"):
        path, word = f"/fal/run/{made.model}", "Key"
        body = {FAL_KINDS[made.kind][1]: PROMPTS[made.kind]}
    else:
        path, word = "/v1/images/generations", "Bearer"
        body = {"model": "local/sketch", "prompt": "a red fox in a birch wood"}
    return (
        f"{path} \\\n    -H 'Authorization: {word} {key}' -H 'Content-Type: application/json' \\\n"
        f"    -d {quote(msgspec.json.encode(body).decode())}"
    )


def _program() -> str:
    beside = Path(sys.executable).with_name("calotype")
    if not beside.exists():
        return f"{sys.executable} -m calotype"
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return str(beside)
