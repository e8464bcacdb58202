"""The mock upstream: nginx on the load core, static answers in OpenAI's shape, real pictures."""

import base64
import json
import os
import struct
import zlib
from pathlib import Path

from benchmarks.processes import LOAD_CORE, Stage

CONF = Path(__file__).parent / "conf"
ECHO_MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
SLOW_S = 2
URL_ANSWER = '{"created":1700000000,"data":[{"url":"https://files.example/abc/0123456789.png"}]}'
STORED_PIXELS, BIG_PIXELS = 184, 512
"""Edges of square pictures of noise: about 100 KB behind a URL, and 1 MiB as base64."""


def has_slow() -> bool:
    """Say whether nginx can hold a request (Debian: libnginx-mod-http-echo)."""
    return ECHO_MODULE.exists()


def start_upstream(stage: Stage, port: int) -> int:
    """Start the mock upstream and return its process id."""
    run = stage.folder
    stored = {"created": 1700000000, "data": [{"url": f"http://127.0.0.1:{port}/picture.png"}]}
    big = {"created": 1700000000, "data": [{"b64_json": base64.b64encode(png(BIG_PIXELS)).decode()}]}
    (run / "image.json").write_text(URL_ANSWER)
    (run / "store.json").write_text(json.dumps(stored))
    (run / "big.json").write_text(json.dumps(big))
    (run / "picture.png").write_bytes(png(STORED_PIXELS))
    slow = f"location = /slow/v1/images/generations {{ echo_sleep {SLOW_S}; echo '{URL_ANSWER}'; }}"
    fill(
        "mock.conf", run, PORT=str(port), SLOW=slow if has_slow() else "",
        MODULE=f"load_module {ECHO_MODULE};" if has_slow() else "",
    )  # fmt: skip
    return stage.start("mock", nginx(run / "mock.conf"), core=LOAD_CORE).pid


def fill(name: str, run: Path, **values: str) -> Path:
    """Write a configuration file from its template."""
    text = (CONF / f"{name}.in").read_text().replace("@RUN@", str(run))
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    path = run / name
    path.write_text(text)
    return path


def nginx(configuration: Path) -> list[str]:
    """Return the command that runs nginx in the foreground."""
    return ["nginx", "-c", str(configuration), "-g", "daemon off;"]


def png(edge: int) -> bytes:
    """Return a picture of noise, which does not get smaller by packing."""
    rows = b"".join(b"\0" + os.urandom(edge * 3) for _ in range(edge))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
