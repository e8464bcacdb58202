"""One generation over HTTP, as any client does it: ask, wait, save. Used by `generate` and the demo."""

import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import msgspec

from calotype.cli.client import Answer, Client
from calotype.cli.terminal import Failure, say
from calotype.kernel.errors import Code, Problem

MIN_POLL_S = 0.2
MAX_SLUG_CHARS = 48
POLL_S = 0.3
Kind = Literal["image", "video", "speech", "music", "avatar"]
FAL_KINDS: dict[Kind, tuple[str, str]] = {
    "speech": ("local/tts", "input"),
    "music": ("local/music", "prompt"),
    "avatar": ("local/avatar", "text"),
}
"""What is asked for as programs written for fal do it: the model of `auto`, and the field that takes the prompt."""
FORMATS = ("mp3", "wav", "flac", "opus")
"""Of recordings; the name of the file that is wanted may choose one."""
OPERATIONS: dict[str, Kind] = {"text-to-speech": "speech", "text-to-music": "music"}
OnProgress = Callable[[int], None]


class Wish(msgspec.Struct, frozen=True):
    """What is asked for; None leaves a field to the model."""

    prompt: str
    model: str = "auto"
    size: str | None = None
    seconds: float | None = None
    seed: int | None = None
    n: int | None = None
    image_url: str | None = None

    def body(self, kind: Kind, *, allow_preview: bool) -> dict[str, Any]:
        """Return the request's body."""
        fields: dict[str, Any] = {"model": self.model, "prompt": self.prompt, "size": self.size, "seed": self.seed}
        if kind == "image":
            fields["n"] = self.n
        else:
            fields["seconds"] = _whole(self.seconds)
        if allow_preview:
            fields["allow_preview"] = True
        return {name: value for name, value in fields.items() if value is not None}

    def fal_input(self, kind: Kind) -> dict[str, Any]:
        """Return the input of a model as fal's clients send it."""
        fields: dict[str, Any] = {FAL_KINDS[kind][1]: self.prompt, "seed": self.seed, "image_url": self.image_url}
        fields["seconds"] = _whole(self.seconds)
        return {name: value for name, value in fields.items() if value is not None}


class Made(msgspec.Struct, frozen=True):
    """What came of it; `price_micro` is what was charged, or would have been to a metered key."""

    job_id: str
    model: str
    label: str | None
    kind: Kind
    files: tuple[str, ...]
    urls: tuple[str, ...]
    price_micro: int
    warnings: tuple[str, ...]
    seconds: float


def kind_of(client: Client, model: str) -> Kind:
    """Return what a model makes; `auto` makes images unless told otherwise.

    Raises:
        Problem: there is no such model.

    """
    if model == "auto":
        return "image"
    about = client.get(f"/v1/models/{quote(model, safe='')}").body
    for operation in about.get("operations") or ():
        if operation in OPERATIONS:
            return OPERATIONS[operation]
    return "video" if about.get("output") == "video" else "image"


def make(client: Client, wish: Wish, kind: Kind, output: Path | None, on_progress: OnProgress) -> Made:
    """Ask, wait for the end and save the files.

    Raises:
        Problem: the server refused, or the job failed.
        Failure: the server or a file cannot be reached.

    """
    if kind in FAL_KINDS:
        return _make_queued(client, wish, kind, output)
    began_s = time.monotonic()
    path = "/v1/images/generations" if kind == "image" else "/v1/videos/generations"
    try:
        first = client.post(path, wish.body(kind, allow_preview=False))
    except Problem as problem:
        if problem.code is not Code.NO_ROUTE or wish.model != "auto":
            raise
        say(f"No provider with a model for {kind}s is set up; using a preview model of this server.")
        first = client.post(path, wish.body(kind, allow_preview=True))
    last = first if kind == "image" else _wait(client, first, on_progress)
    body = last.body
    urls = tuple(datum["url"] for datum in body.get("data") or ())
    job_id = last.headers.get("x-calotype-job-id", "")
    return Made(
        job_id=job_id,
        model=body.get("model", wish.model),
        label=body.get("label"),
        kind=kind,
        files=_saved(client, urls, output, wish.prompt, job_id),
        urls=urls,
        price_micro=int(last.headers.get("x-phi-cost-micro", "0")),
        warnings=tuple(body.get("warnings") or ()),
        seconds=round(time.monotonic() - began_s, 2),
    )


def _make_queued(client: Client, wish: Wish, kind: Kind, output: Path | None) -> Made:
    """Ask through the queue as fal's clients do: submit, look at the status until it has ended, fetch the result."""
    began_s = time.monotonic()
    model = FAL_KINDS[kind][0] if wish.model == "auto" else wish.model
    fields = wish.fal_input(kind)
    if output is not None and kind != "avatar" and (suffix := output.suffix.lower()[1:]) in FORMATS:
        fields["response_format"] = suffix
    created = client.post(f"/fal/queue/{quote(model)}", fields).body
    job_id = created["request_id"]
    status = urlsplit(created["status_url"]).path  # of this server, by the address it is known to answer at
    try:
        while client.get(status).body["status"] != "COMPLETED":
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        raise Failure(f"No longer waiting; the job goes on: calotype jobs watch {job_id}", exit_code=130) from None
    last = client.get(urlsplit(created["response_url"]).path)
    urls = tuple(value["url"] for value in last.body.values() if isinstance(value, dict) and "url" in value)
    return Made(
        job_id=job_id,
        model=model,
        label=client.get(f"/v1/models/{quote(model, safe='')}").body.get("label"),
        kind=kind,
        files=_saved(client, urls, output, wish.prompt, job_id),
        urls=urls,
        price_micro=int(last.headers.get("x-phi-cost-micro", "0")),
        warnings=tuple(msgspec.json.decode(last.headers.get("x-calotype-warnings", "[]"))),
        seconds=round(time.monotonic() - began_s, 2),
    )


def _saved(client: Client, urls: tuple[str, ...], output: Path | None, prompt: str, job_id: str) -> tuple[str, ...]:
    files = []
    for n, url in enumerate(urls):
        target = _target(output, prompt, job_id, url, n, len(urls))
        client.download(url, target)
        files.append(str(target))
    return tuple(files)


def _whole(seconds: float | None) -> float | None:
    return int(seconds) if seconds is not None and seconds.is_integer() else seconds


def _wait(client: Client, created: Answer, on_progress: OnProgress) -> Answer:
    """Poll until the video's end."""
    last = created
    ident = created.body["id"]
    try:
        while last.body["status"] not in ("completed", "failed"):
            on_progress(int(last.body.get("progress") or 0))
            time.sleep(max(MIN_POLL_S, int(last.headers.get("openai-poll-after-ms", "1000")) / 1000))
            last = client.get(f"/v1/videos/{ident}")
    except KeyboardInterrupt:
        raise Failure(f"No longer waiting; the job goes on: calotype jobs watch {ident}", exit_code=130) from None
    if last.body["status"] == "failed":
        error = last.body.get("error") or {}
        raise Problem.from_dict(
            {"code": error.get("code"), "message": error.get("message", "The job failed."), "field": error.get("param")}
        )
    on_progress(100)
    return last


def _target(output: Path | None, prompt: str, job_id: str, url: str, n: int, count: int) -> Path:
    """Return where a file goes: as told, or named after the prompt; never over an earlier job's file."""
    suffix = Path(urlsplit(url).path).suffix or ".bin"
    if output is not None and not output.is_dir():
        return output if count == 1 else output.with_name(f"{output.stem}-{n + 1}{output.suffix or suffix}")
    name = f"{slug(prompt)}-{job_id[-6:]}" + (f"-{n + 1}" if count > 1 else "")
    return (output or Path()) / f"{name}{suffix}"


def check_output(output: Path | None) -> None:
    """See that a file can be saved there, before anything is asked for and charged.

    Raises:
        Failure: it cannot.

    """
    folder = Path() if output is None else output if output.is_dir() else output.parent
    if not folder.is_dir():
        raise Failure(f"There is no folder {folder}.")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise Failure(
            f"No file can be saved in {folder.absolute()}: {(error.strerror or str(error)).lower()}."
        ) from None


def slug(prompt: str) -> str:
    """Return a prompt as part of a file name."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")
    return words[:MAX_SLUG_CHARS].rstrip("-") or "output"
