"""`calotype generate`: one picture, video or recording, over HTTP like any client."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from calotype.cli.ask import Kind, Made, Wish, check_output, kind_of, make
from calotype.cli.client import Client
from calotype.cli.local_key import local_key, renew_local_key
from calotype.cli.neighbour import engine_runs, running, server
from calotype.cli.options import DataDir, Json, settings_for
from calotype.cli.terminal import Failure, answer, facts, progress_bar, say
from calotype.kernel.errors import Code, Problem
from calotype.kernel.money import usd
from calotype.settings import Settings


def generate(
    prompt: Annotated[str, typer.Argument(help="What to make.")],
    model: Annotated[str, typer.Option(help="A model's id; auto takes the cheapest that fits.")] = "auto",
    operation: Annotated[
        Literal["image", "video", "speech", "music"] | None,
        typer.Option(help="What to make; by default what the model makes."),
    ] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Length of a video or of music.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed makes the same again.")] = None,
    n: Annotated[int | None, typer.Option("--n", min=1, help="How many pictures.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder; by default a file here.")
    ] = None,
    url: Annotated[str | None, typer.Option(envvar="CALOTYPE_URL", help="Server; by default this machine's.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="CALOTYPE_API_KEY", help="API key; by default a local one.", show_envvar=True)
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a picture, a video, speech or music and save it. Without a server one runs for as long as this takes."""
    wish = Wish(prompt=prompt, model=model, size=size, seconds=seconds, seed=seed, n=n)
    if operation in ("image", "speech") and seconds is not None:
        raise typer.BadParameter("--seconds is for videos and music")
    if operation not in (None, "image") and n is not None:
        raise typer.BadParameter("--n is for images")
    if operation in ("speech", "music") and size is not None:
        raise typer.BadParameter("--size is for images and videos")

    check_output(output)

    def work(client: Client) -> Made:
        return _make(client, wish, operation, output)

    if url is not None:
        if key is None:
            raise Failure("Give the server's key with --key or CALOTYPE_API_KEY; the local key is not sent elsewhere.")
        made = work(Client(url, key))
    else:
        made = _here(settings_for(data_dir), key, work)
    if as_json:
        answer(made)
    else:
        _tell(made, own_key=key is None)


def _make(client: Client, wish: Wish, operation: Kind | None, output: Path | None) -> Made:
    auto_video = wish.model == "auto" and wish.seconds is not None
    kind = operation or ("video" if auto_video else kind_of(client, wish.model))
    with progress_bar() as bar:
        line = bar.add_task(kind, total=100 if kind == "video" else None)
        return make(client, wish, kind, output, lambda percent: bar.update(line, completed=percent))


def _here(settings: Settings, key: str | None, work: Callable[[Client], Made]) -> Made:
    """Work with the server of the data directory, or with one that runs only for this."""
    if (address := running(settings.data_dir)) is not None:
        return _with_key(settings, address, key, work)
    if engine_runs(settings.data_dir):
        raise Failure(f"A server runs {settings.data_dir} but does not answer here; name it with --url and --key.")
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    say("No server runs here; starting one for this request (calotype serve keeps one running).")
    with tempfile.TemporaryDirectory() as folder, server(settings.data_dir, Path(folder) / "log") as address:
        return _with_key(settings, address, key, work)


def _with_key(settings: Settings, address: str, key: str | None, work: Callable[[Client], Made]) -> Made:
    if key is not None:
        return work(Client(address, key))
    try:
        return work(Client(address, local_key(settings)))
    except Problem as problem:
        if problem.code is not Code.INVALID_API_KEY:
            raise
    return work(Client(address, renew_local_key(settings)))


def _tell(made: Made, *, own_key: bool) -> None:
    price = usd(made.price_micro)
    facts(
        [
            *(("file", file) for file in made.files),
            *(("url", url) for url in made.urls),
            ("model", made.model if made.label is None else f"{made.model} ({made.label})"),
            ("price", f"{price} (the local key is not charged)" if own_key else price),
            ("job", made.job_id),
            ("took", f"{made.seconds:.1f} s"),
            *(("warning", warning) for warning in made.warnings),
        ]
    )
