"""A model server that Calotype can use as a worker (docs/workers.md), with the standard library alone.

Start it with `WORKER_TOKEN=secret WORKER_PORT=9000 python examples/http_worker.py` and add it with
`calotype workers add painter http://127.0.0.1:9000 --kind http --auth-env WORKER_TOKEN`. Replace `make` by your model.
"""

import json
import os
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODELS = ["painter"]
CAPACITY = 2
TOKEN = os.environ.get("WORKER_TOKEN", "")
JOBS: dict[str, dict[str, Any]] = {}
FILES: dict[str, bytes] = {}
POOL = ThreadPoolExecutor(CAPACITY)


def make(job: dict[str, Any], given: dict[str, Any]) -> list[bytes]:
    """Return the files of a job: here, one picture of a single colour. Look at `job["status"]` to stop early."""
    seconds = float(given.get("seconds", 0))
    for step in range(10):
        if job["status"] == "canceled":
            return []
        job["progress"] = step / 10
        time.sleep(seconds / 10)
    colour = zlib.crc32(str(given.get("prompt")).encode()).to_bytes(4, "big")[:3]
    row = b"\0" + colour * 64
    head, body = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0), zlib.compress(row * 64)
    chunks = [(b"IHDR", head), (b"IDAT", body), (b"IEND", b"")]
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return [b"\x89PNG\r\n\x1a\n" + b"".join(packed)]


def run(job: dict[str, Any], body: dict[str, Any]) -> None:
    """Do a job and note how it ended."""
    try:
        job["status"] = "running" if job["status"] == "queued" else job["status"]
        files = make(job, body["input"])
    except Exception as error:  # whatever the model raises is the job's failure
        job.update(status="failed", error={"kind": "failed", "message": str(error)})
        return
    if job["status"] != "canceled":
        for n, file in enumerate(files):
            FILES[f"{job['id']}/{n}"] = file
            job["outputs"].append({"url": f"/v1/files/{job['id']}/{n}", "content_type": "image/png"})
        job.update(status="succeeded", progress=1.0)


class Handler(BaseHTTPRequestHandler):
    """The four requests of the contract, and the files."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Tell of the server, of a job, or hand out a file."""
        busy = sum(job["status"] in ("queued", "running") for job in JOBS.values())
        if self.refused():
            return
        if self.path == "/health":
            self.answer(200, {"models": MODELS, "capacity": CAPACITY, "busy": busy, "version": "1"})
        elif (file := FILES.get(self.path.removeprefix("/v1/files/"))) is not None:
            self.answer(200, file)
        else:
            self.job(JOBS.get(self.path.removeprefix("/v1/jobs/")))

    def do_POST(self) -> None:
        """Take a job; an id that is known already is the same job."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        if body["model"] not in MODELS:
            self.answer(404, {"error": {"message": "no such model"}})
        elif not body["input"].get("prompt"):
            self.answer(422, {"error": {"kind": "invalid", "message": "prompt is empty", "field": "prompt"}})
        else:
            job = {"id": body["id"], "status": "queued", "progress": 0, "outputs": []}
            known = JOBS.setdefault(body["id"], job)
            if known is job:
                POOL.submit(run, job, body)
            self.job(known, 202)

    def do_DELETE(self) -> None:
        """Stop a job that has not ended; one that has could be forgotten here."""
        if self.refused():
            return
        job = JOBS.get(self.path.removeprefix("/v1/jobs/"))
        if job is not None and job["status"] in ("queued", "running"):
            job["status"] = "canceled"
        self.job(job)

    def refused(self) -> bool:
        """Send those away who do not know the secret."""
        if TOKEN and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": {"message": "no"}})
            return True
        return False

    def job(self, job: dict[str, Any] | None, status: int = 200) -> None:
        """Answer a job, or that there is none."""
        self.answer(404, {"error": {"message": "unknown"}}) if job is None else self.answer(status, job)

    def answer(self, status: int, body: Any) -> None:
        """Answer JSON, or a file."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "image/png" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


if __name__ == "__main__":
    address = ("127.0.0.1", int(os.environ.get("WORKER_PORT", "9000")))
    ThreadingHTTPServer(address, Handler).serve_forever()
