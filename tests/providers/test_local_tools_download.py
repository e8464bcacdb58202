"""Downloads through a fence: what is fetched, in which shape, and what can never be reached."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest
import toolbox

from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Succeeded
from calotype.providers.base import Call
from calotype.providers.local import download
from calotype.providers.local.download_fence import Forbidden, fenced
from calotype.providers.local.films.converting import sound_file
from calotype.providers.local.messages import BadInput, Unavailable
from calotype.providers.local.platforms import PLATFORMS
from calotype.providers.local.pool import Limits
from calotype.providers.local.runtime import LocalRuntime

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A web server on this machine, which keeps what it was asked for."""

    def __init__(self, pages: dict[str, Answer]) -> None:
        self.pages, self.asked = pages, list[str]()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                answer = site.pages.get(self.path)
                if answer is None:
                    self.send_error(404)
                else:
                    answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"


@contextmanager
def serving(pages: dict[str, Answer] | None = None) -> Iterator[Site]:
    site = Site(pages or {})
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


def body(content: bytes, kind: str = "video/mp4", *, length: bool = True) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        if length:
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command == "GET":
            with contextlib.suppress(ConnectionError):
                request.wfile.write(content)

    return answer


def redirect(target: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", target)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def fetch(url: str, folder: Path, allowed: list[str], **fields: Any) -> Any:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return download.render(url=url, allowed_hosts=allowed, scratch=str(scratch), progress=lambda share: None, **fields)


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    return toolbox.film(tmp_path).read_bytes()


def test_a_film_is_fetched_as_it_is_and_measured(tmp_path: Path, film: bytes) -> None:
    with serving({"/film.mp4": body(film)}) as site:
        made = fetch(f"{site.url}/film.mp4", tmp_path, [site.host])
    assert made.file.read_bytes() == film
    assert made.content_type == "video/mp4"
    assert made.usage == {"bytes": len(film)}
    assert made.data["platform"] == "Generic"


def test_its_sound_alone_is_mp3(tmp_path: Path, film: bytes) -> None:
    with serving({"/film.mp4": body(film)}) as site:
        for fields in ({"format": "mp3"}, {"quality": "audio"}):
            made = fetch(f"{site.url}/film.mp4", tmp_path, [site.host], **fields)
            assert made.content_type == "audio/mpeg"


def test_pictures_and_sound_apart_are_put_together(tmp_path: Path) -> None:
    silent, loud = toolbox.film(tmp_path, sound=False), toolbox.tone(tmp_path, 1.2)
    recording = tmp_path / "sound.mp3"
    sound_file(str(loud), "url", "mp3", recording, lambda share: None)
    out, warnings = download._shaped([silent, recording], sound_only=False, wanted="mp4", scratch=str(tmp_path))
    assert warnings == ()
    with av.open(str(out)) as whole:
        assert [stream.type for stream in whole.streams] == ["video", "audio"]
        assert sum(1 for _ in whole.decode(video=0)) == 12


def test_a_redirect_to_a_private_address_is_never_followed(tmp_path: Path, film: bytes) -> None:
    with serving({"/film.mp4": body(film)}) as secret:
        for target in (
            f"{secret.url}/film.mp4",
            f"http://localhost:{secret.port}/film.mp4",
            "http://169.254.169.254/x",
        ):
            with serving({"/film.mp4": redirect(target)}) as site, pytest.raises(BadInput) as refusal:
                fetch(f"{site.url}/film.mp4", tmp_path, [site.host])
            assert refusal.value.field == "url"
            assert "public internet" in refusal.value.message
        assert secret.asked == []


def test_a_redirect_to_a_file_of_this_machine_is_refused(tmp_path: Path) -> None:
    for target in ("file:///etc/hostname", "ftp://127.0.0.1/film.mp4", "data:text/plain,hello"):
        with serving({"/film.mp4": redirect(target)}) as site, pytest.raises((BadInput, Unavailable)):
            fetch(f"{site.url}/film.mp4", tmp_path, [site.host])


def test_a_playlist_cannot_point_to_a_private_address(tmp_path: Path) -> None:
    with serving() as secret:
        lines = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
        for segment in (f"{secret.url}/segment.ts", "file:///etc/hostname"):
            pages = {"/list.m3u8": body(lines.format(segment).encode(), "application/vnd.apple.mpegurl")}
            with serving(pages) as site, pytest.raises((BadInput, Unavailable)):
                fetch(f"{site.url}/list.m3u8", tmp_path, [site.host])
        assert secret.asked == []


def test_a_name_that_leads_somewhere_else_the_second_time_reaches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the check sees the address of the connection, not the name."""
    import socket

    with serving() as secret:
        plain = socket.getaddrinfo

        def lookup(host: Any, *arguments: Any, **more: Any) -> Any:
            return plain("127.0.0.1" if host == "film.example" else host, *arguments, **more)

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        with pytest.raises(BadInput, match="public internet"):
            fetch(f"http://film.example:{secret.port}/film.mp4", tmp_path, [])
        assert secret.asked == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a", "http://[::1]/a", "file:///etc/passwd", "http://2130706433/", "ytsearch:cats", "nonsense"],
)
def test_an_address_that_may_not_be_fetched_is_refused_before_anything_is_sent(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadInput) as refusal:
        fetch(url, tmp_path, [])
    assert refusal.value.field == "url"


def test_what_is_not_a_film_is_refused(tmp_path: Path) -> None:
    pages = {
        "/page": body(b"<html><body>nothing here</body></html>", "text/html"),
        "/film.mp4": body(b"root:x:0:0" * 100, "video/mp4"),
    }
    with serving(pages) as site:
        for path in ("/page", "/film.mp4", "/missing"):
            with pytest.raises(BadInput) as refusal:
                fetch(f"{site.url}{path}", tmp_path, [site.host])
            assert refusal.value.field == "url"


@pytest.mark.parametrize("length", [True, False])
def test_what_is_too_large_is_stopped(
    tmp_path: Path, film: bytes, monkeypatch: pytest.MonkeyPatch, *, length: bool
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    pages = {"/film.mp4": body(film + bytes(3_000_000), length=length)}
    with serving(pages) as site, pytest.raises(BadInput, match="larger"):
        fetch(f"{site.url}/film.mp4", tmp_path, [site.host])


def test_no_program_is_started_and_no_name_is_connected_to() -> None:
    import socket

    with fenced([]) as fence:
        with pytest.raises(Forbidden):
            subprocess.run([sys.executable, "-c", ""], check=False)
        for address in (("127.0.0.1", 80), ("::ffff:127.0.0.1", 80), ("8.8.8.8", 22), ("localhost", 80)):
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            with socket.socket(family) as plug, pytest.raises(Forbidden):
                plug.connect(address)
        with socket.socket(socket.AF_UNIX) as plug, pytest.raises(Forbidden):
            plug.connect("/run/some.sock")
        assert len(fence.refused) == 5
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


def test_the_sites_it_names_are_known_to_the_engine() -> None:
    from yt_dlp.extractor import gen_extractor_classes

    assert set(PLATFORMS) <= {extractor.ie_key() for extractor in gen_extractor_classes()}


async def test_through_the_runtime_with_the_operators_exemption(tmp_path: Path, film: bytes) -> None:
    with serving({"/film.mp4": body(film), "/away": redirect("http://127.0.0.1:9/film.mp4")}) as site:
        runtime = LocalRuntime(tmp_path / "scratch", Limits(), allowed_hosts=[site.host])

        async def nothing() -> None:
            return None

        async def submit(path: str, data_class: DataClass = DataClass.GENERAL) -> Any:
            fields = {"url": f"{site.url}{path}", "format": "mp4", "quality": "best"}
            call = Call("job", 1, "token", Operation.DOWNLOAD, "video-download", fields, data_class=data_class)
            return await runtime.submit(call, nothing, lambda share: None)

        try:
            outcome = await submit("/film.mp4")
            assert isinstance(outcome, Succeeded)
            assert Path(outcome.outputs[0].path or "").read_bytes() == film
            assert outcome.usage == {"bytes": len(film)}
            refused = await submit("/away")
            assert isinstance(refused, Failed)
            assert (refused.kind, refused.field) == (FailedKind.INVALID, "url")
            asked = len(site.asked)
            private = await submit("/film.mp4", DataClass.PHI)
            assert isinstance(private, Failed)
            assert private.kind is FailedKind.GONE
            assert len(site.asked) == asked
        finally:
            await runtime.close()


async def test_a_download_ends_when_it_is_cancelled_or_its_process_dies(tmp_path: Path, film: bytes) -> None:
    let_go = threading.Event()

    def slowly(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "video/mp4")
        request.end_headers()
        with contextlib.suppress(ConnectionError):
            request.wfile.write(film)
            request.wfile.flush()
            let_go.wait(30)

    with serving({"/film.mp4": slowly}) as site:
        runtime = LocalRuntime(tmp_path / "scratch", Limits(), allowed_hosts=[site.host])
        fields = {"url": f"{site.url}/film.mp4", "format": "mp4", "quality": "best"}
        call = Call("job", 1, "token", Operation.DOWNLOAD, "video-download", fields)

        async def nothing() -> None:
            return None

        def kill(share: float) -> None:
            for pid in runtime.pool.pids:
                os.kill(pid, signal.SIGKILL)

        running: list[asyncio.Task[Any]] = []
        try:
            running.append(asyncio.create_task(runtime.submit(call, nothing, lambda share: running[0].cancel())))
            with pytest.raises(asyncio.CancelledError):
                await running[0]
            assert list((tmp_path / "scratch").iterdir()) == []
            outcome = await runtime.submit(call, nothing, kill)
            assert (outcome.kind, outcome.detail) == (FailedKind.UPSTREAM, "SIGKILL")
            assert list((tmp_path / "scratch").iterdir()) == []
        finally:
            let_go.set()
            await runtime.close()
