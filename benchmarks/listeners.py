"""Many clients of event streams, and the slow writer behind the chats: `python -m benchmarks.listeners --help`.

It runs beside the server, on the other core. Each piece of a chat holds the time at which the writer sent it; each
tenth of progress is looked up in what the provider noted (`stepping_jobs.py`). Both clocks are the machine's monotonic
one. `FOLDER/open` appears when every stream is open, `FOLDER/listened` holds the figures at the end.
"""

import argparse
import asyncio
import itertools
import json
import re
import time
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.processes import allow_files
from benchmarks.slow_writer import Book, Writer

AT_ONCE = 50
"""Streams that are being opened at the same time."""
OPEN_S, LATE_S = 60.0, 5.0
_HEAD = re.compile(rb"^HTTP/1\.1 200 ")
_PERCENT = re.compile(rb'"message":"(\d+) % done"')
_PIECE = re.compile(rb"at-(\d+);")


class Client(asyncio.Protocol):
    """One open stream: notes when it saw what."""

    def __init__(self, request: bytes, wanted: re.Pattern[bytes]) -> None:
        self._request = request
        self._wanted = wanted
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.seen: list[tuple[int, int]] = []
        """The number in each event, and the time."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done at the end of a chat."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        text = self._rest + data
        if not self.opened.done():
            self.opened.set_result(_HEAD.match(text) is not None)
        last = 0
        for found in self._wanted.finditer(text):
            self.seen.append((int(found[1]), now_ns))
            last = found.end()
        if b"data: [DONE]" in text and not self.done.done():
            self.done.set_result(None)
        self._rest = text[max(last, len(text) - 64) :]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.opened.done():
            self.opened.set_result(False)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def _connect(port: int, request: bytes, wanted: re.Pattern[bytes], door: asyncio.Semaphore) -> Client:
    async with door:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(request, wanted), "127.0.0.1", port)
        await asyncio.wait_for(asyncio.shield(client.opened), OPEN_S)
        return client


def _watch(key: str, job_id: str) -> bytes:
    return (
        f"GET /fal/queue/bench-video/requests/{job_id}/status/stream?logs=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Key {key}\r\n\r\n"
    ).encode()


def _chat(key: str, number: int) -> bytes:
    said = {"role": "user", "content": f"Who sits in the waiting room? {number}"}
    body = json.dumps({"model": "bench-chat", "messages": [said], "max_tokens": 64, "stream": True})
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def listen(args: argparse.Namespace) -> dict[str, float]:
    """Open every stream, listen, let the chats end, and return the figures."""
    folder: Path = args.folder
    key = (folder / "key").read_text()
    jobs = (folder / "stepping").read_text().split()
    loop = asyncio.get_running_loop()
    book = Book()
    server = await loop.create_server(lambda: Writer(book), "127.0.0.1", args.upstream, backlog=4096)
    door = asyncio.Semaphore(AT_ONCE)
    began = time.monotonic()
    watching = await asyncio.gather(*(_connect(args.port, _watch(key, one), _PERCENT, door) for one in jobs))
    talking = await asyncio.gather(*(_connect(args.port, _chat(key, one), _PIECE, door) for one in range(args.chats)))
    open_s = time.monotonic() - began
    refused = sum(not client.opened.result() for client in (*watching, *talking))
    from_ns = time.monotonic_ns()
    (folder / "open").touch()
    await asyncio.sleep(args.seconds)
    to_ns = time.monotonic_ns()
    (folder / "over").touch()
    await asyncio.sleep(LATE_S)
    for writer in list(book.open):
        writer.end()
    if talking:
        await asyncio.wait([client.done for client in talking], timeout=LATE_S)
    said = {(job, int(percent)): int(ns) for job, percent, ns in map(str.split, _lines(folder / "changes"))}
    status = [(said[job, one], at_ns) for job, client in zip(jobs, watching, strict=True) for one, at_ns in client.seen]
    chat = list(itertools.chain.from_iterable(client.seen for client in talking))
    unended = sum(not client.done.done() for client in talking)
    for client in (*watching, *talking):
        client.close()
    server.close()
    pairs = {"status": (list(said.values()), status), "chat": (book.sent, chat)}
    found = tally(pairs, from_ns, to_ns)
    return {
        **found, "status_streams": len(watching), "chat_streams": len(talking), "open_s": round(open_s, 2),
        "seconds": (to_ns - from_ns) / 1e9, "bad": found["lost"] + refused + unended,
    }  # fmt: skip


def tally(kinds: dict[str, tuple[list[int], list[tuple[int, int]]]], from_ns: int, to_ns: int) -> dict[str, float]:
    """Return the figures of what was said between two times: when it was said, and pairs of said and seen, by kind."""
    figures: dict[str, float] = {}
    both: list[float] = []
    lost = 0
    for kind, (said, seen) in kinds.items():
        delays = sorted((at_ns - ns) / 1e6 for ns, at_ns in seen if from_ns <= ns < to_ns)
        lost += abs(sum(from_ns <= ns < to_ns for ns in said) - len(delays))
        figures |= _figures(f"{kind}_", delays)
        both += delays
    return {**figures, **_figures("", sorted(both)), "lost": float(lost)}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _figures(name: str, delays: list[float]) -> dict[str, float]:
    """Return count, middle, 99th percentile and most of sorted delays."""
    if not delays:
        return {f"{name}events": 0.0, **{f"{name}{one}_ms": float("inf") for one in ("p50", "p99", "max")}}
    return {
        f"{name}events": float(len(delays)), f"{name}p50_ms": round(delays[len(delays) // 2], 2),
        f"{name}p99_ms": round(delays[int(len(delays) * 0.99)], 2), f"{name}max_ms": round(delays[-1], 2),
    }  # fmt: skip


def main() -> None:
    """Listen and leave the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("upstream", type=int, help="the port of the slow writer")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chats", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    allow_files()
    figures = uvloop.run(listen(args))
    part = args.folder / "listened.part"
    part.write_text(json.dumps(figures))
    part.rename(args.folder / "listened")


if __name__ == "__main__":
    main()
