"""`calotype demo` (behind `make demo`): a real server, a real key, a real charge, one picture, from nothing."""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import msgspec
import typer

from calotype.app import App
from calotype.cli.ask import Made, Wish, make
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

PROMPT = "three penguins in the snow under the moon"
PRICES = {"local/sketch": 1000, "local/sketch-video": 1000}
"""What the demo asks for its free models, in micro-USD a unit, so that a charge can be seen."""
MODELS: dict[str, str] = {"image": "local/sketch", "video": "local/sketch-video"}


def demo(
    prompt: Annotated[str, typer.Argument(help="What to draw.")] = PROMPT,
    operation: Annotated[Literal["image", "video"], typer.Option(help="What to make.")] = "image",
    folder: Annotated[Path, typer.Option("--output", "-o", help="Where everything goes.")] = Path("demo-output"),
) -> None:
    """Show the whole way of a request on this machine: server, key, money, picture, charge."""
    began_s = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    data_dir = _fresh(folder)
    _forget_settings()
    settings = Settings(data_dir=data_dir)
    key, org_id, before = with_settings(settings, _open_account)
    log = folder / "server.log"
    wish = Wish(prompt=prompt or PROMPT, model=MODELS[operation])
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
    prices = quote(msgspec.json.encode(PRICES).decode())
    say(
        "\nThe server has stopped again. To keep one running on the same data:\n\n"
        f"  CALOTYPE_PRICES={prices} {program} serve --port 8700 --data-dir {quote(str(data_dir))}\n\n"
        "and from another terminal:\n\n"
        f"  {program} generate 'a red fox in a birch wood' --data-dir {quote(str(data_dir))}\n"
        "  curl -s http://127.0.0.1:8700/v1/images/generations \\\n"
        f"    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        '    -d \'{"model": "local/sketch", "prompt": "a red fox in a birch wood"}\'\n'
    )


def _program() -> str:
    beside = Path(sys.executable).with_name("calotype")
    if not beside.exists():
        return f"{sys.executable} -m calotype"
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return str(beside)
