"""Fetching a film or its sound from a public page with yt-dlp, behind a fence around the whole process."""

import heapq
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from calotype.http.guard import Guard
from calotype.kernel.errors import Problem
from calotype.media.probe import HEAD_BYTES, sniff
from calotype.providers.local.download_fence import Fence, fenced
from calotype.providers.local.extra import engine
from calotype.providers.local.films.converting import sound_file
from calotype.providers.local.films.reading import opened
from calotype.providers.local.messages import BadInput, Made, Unavailable

FORMATS = ("mp4", "mp3", "best")
QUALITIES = ("best", "720p", "480p", "360p", "audio")
MAX_BYTES = 500_000_000
MAX_SECONDS = 4 * 3600
MAX_SOUND_S = 3600.0
"""How long sound may be that is made into MP3."""
TIMEOUT_S = 15
FIELD = "url"


def render(
    *,
    url: str,
    allowed_hosts: list[str],
    scratch: str,
    format: str = "mp4",  # noqa: A002  (the field's own name)
    quality: str = "best",
    progress: Callable[[float], None],
) -> Made:
    """Return what a page shows, at most `MAX_BYTES`.

    Raises:
        BadInput: an address that may not be fetched or shows nothing to fetch, or too much of it.
        Unavailable: the site cannot be reached, or the extra is not installed.

    """
    if format not in FORMATS:
        raise BadInput("format", f"format must be one of {', '.join(FORMATS)}.")
    if quality not in QUALITIES:
        raise BadInput("quality", f"quality must be one of {', '.join(QUALITIES)}.")
    try:
        address = str(Guard(allowed_hosts).parse(url, FIELD))
    except Problem as refusal:
        raise BadInput(FIELD, refusal.message) from None
    engine("yt_dlp")
    sound_only = format == "mp3" or quality == "audio"
    with fenced(allowed_hosts) as fence:
        try:
            found, files = _fetched(address, _choice(format, quality), Path(scratch), progress)
        except (BadInput, Unavailable):
            raise
        except Exception as error:
            raise _refusal(error, fence) from None
    out, warnings = _shaped(files, sound_only=sound_only, wanted=format, scratch=scratch)
    size = out.stat().st_size
    with out.open("rb") as file:
        kind = sniff(file.read(HEAD_BYTES))
    if not kind.startswith(("video/", "audio/")):
        raise BadInput(FIELD, "There is no film or sound at this address.")
    data = {
        "title": str(found.get("title") or "")[:500],
        "platform": str(found.get("extractor_key") or ""),
        "bytes": size,
    }
    return Made(out, warnings, kind, data, {"bytes": size})


def _choice(wanted: str, quality: str) -> str:
    """Return what to ask for, in yt-dlp's words, best first; sites that do not say how high a film is are taken too."""
    if wanted == "mp3" or quality == "audio":
        return "ba[ext=m4a]/ba/b"
    high = f"[height<=?{quality.removesuffix('p')}]" if quality != "best" else ""
    plain = f"bv*{high}+ba/b{high}/b"
    return plain if wanted == "best" else f"bv*[vcodec^=avc]{high}+ba[ext=m4a]/b[ext=mp4]{high}/{plain}"


def _fetched(
    url: str, choice: str, folder: Path, progress: Callable[[float], None]
) -> tuple[dict[str, Any], list[Path]]:
    """Return what is known of the film, and its files: one, or pictures and sound apart."""
    share = _Share(progress)
    with _fetcher(choice, folder, share) as fetcher:
        found = fetcher.extract_info(url, download=False)
        if found and found.get("entries") is not None:
            found = next((entry for entry in found["entries"] if entry), None)
        if not found:
            raise BadInput(FIELD, "There is no film or sound at this address.")
        progress(0.05)
        _check(found)
        parts = found.get("requested_formats") or [found]
        share.parts = len(parts)
        files = []
        for number, part in enumerate(parts):
            path = folder / f"part-{number}"
            share.number = number
            done, _ = fetcher.dl(str(path), {**found, **part, "filename": str(path)})
            if not done or not path.is_file():
                raise Unavailable("The site does not give this film out now.")
            files.append(path)
        return found, files


def _fetcher(choice: str, folder: Path, share: "_Share") -> Any:
    """Return yt-dlp without everything that reaches out of this process: no programs, plugins, files or settings."""
    base: Any = engine("yt_dlp").YoutubeDL
    urllib_only = engine("yt_dlp.networking._urllib").UrllibRH
    engine("yt_dlp.globals").plugin_dirs.value = []

    class Fetcher(base):  # type: ignore[misc]
        def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:  # noqa: ARG002
            # the others hand their connections to libraries that the fence does not see
            return super().build_request_director([urllib_only], preferences)

    return Fetcher(
        {
            "format": choice, "paths": {"home": str(folder)}, "outtmpl": "part", "cachedir": False, "proxy": "",
            "quiet": True, "no_warnings": True, "noprogress": True, "logger": _Silence(), "noplaylist": True,
            "playlist_items": "1", "socket_timeout": TIMEOUT_S, "retries": 2, "fragment_retries": 2,
            "extractor_retries": 1, "file_access_retries": 0, "skip_unavailable_fragments": False, "nopart": True,
            "updatetime": False, "fixup": "never", "js_runtimes": {}, "remote_components": [],
            "external_downloader": {"default": "native"}, "hls_prefer_native": True, "overwrites": True,
            "ffmpeg_location": str(folder / "none"), "progress_hooks": [share],
            "concurrent_fragment_downloads": 1, "enable_file_urls": False, "color": "never",
        }
    )  # fmt: skip


def _check(found: dict[str, Any]) -> None:
    if found.get("is_live"):
        raise BadInput(FIELD, "A live broadcast cannot be downloaded.")
    seconds = found.get("duration")
    if isinstance(seconds, int | float) and seconds > MAX_SECONDS:
        raise BadInput(FIELD, f"The film may be {MAX_SECONDS // 3600} hours long at most.")
    parts = found.get("requested_formats") or [found]
    if sum(part.get("filesize") or 0 for part in parts) > MAX_BYTES:
        raise _too_large()


class _Share:
    """Tells how far the files are, and stops what grows too large."""

    def __init__(self, progress: Callable[[float], None]) -> None:
        self.parts, self.number = 1, 0
        self._progress = progress
        self._bytes: dict[int, int] = {}

    def __call__(self, state: dict[str, Any]) -> None:
        done = int(state.get("downloaded_bytes") or 0)
        self._bytes[self.number] = max(done, self._bytes.get(self.number, 0))
        if max(sum(self._bytes.values()), int(state.get("total_bytes") or 0)) > MAX_BYTES:
            raise _too_large()
        total = state.get("total_bytes") or state.get("total_bytes_estimate") or MAX_BYTES
        self._progress(0.05 + 0.85 * (self.number + min(1.0, done / max(1, total))) / self.parts)


class _Silence:
    """Takes yt-dlp's messages, which may quote addresses."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


def _refusal(error: Exception, fence: Fence) -> Exception:
    """Say in our own words what went wrong."""
    if fence.refused:
        return BadInput(FIELD, "This address leads to a host that is not on the public internet.")
    cause: BaseException | None = error
    causes: list[Any] = []
    while cause is not None and len(causes) < 10:
        causes.append(cause)
        inner = getattr(cause, "exc_info", None)
        cause = (
            (inner[1] if inner and inner[1] is not cause else None) or cause.__cause__ or getattr(cause, "cause", None)
        )
    names = {kind.__name__ for one in causes for kind in type(one).__mro__}
    status = next((one.status for one in causes if isinstance(getattr(one, "status", None), int)), None)
    if "UnsupportedError" in names:
        return BadInput(FIELD, "There is no film or sound at this address that can be downloaded.")
    if status is not None and status < 500 and status != 429:
        return BadInput(FIELD, f"The site answers {status} for this address.")
    ours = bool(names & {"DownloadError", "RequestError"})
    if ours and "TransportError" not in names and status is None:
        return BadInput(FIELD, "The site does not give out what is at this address, or it needs an account.")
    if ours or isinstance(error, OSError):
        return Unavailable("The site cannot be reached now.")
    return error


def _shaped(files: list[Path], *, sound_only: bool, wanted: str, scratch: str) -> tuple[Path, tuple[str, ...]]:
    """Return one file of the kind that is wanted; pictures and sound are put together as they are."""
    with files[0].open("rb") as file:
        kind = sniff(file.read(HEAD_BYTES))
    if not kind.startswith(("video/", "audio/")):
        raise BadInput(FIELD, "There is no film or sound at this address.")
    if sound_only:
        if kind == "audio/mpeg":
            return files[0], ()
        out = Path(scratch) / "sound.mp3"
        sound_file(str(files[-1]), FIELD, "mp3", out, lambda share: None, max_s=MAX_SOUND_S)  # noqa: ARG005
        return out, ()
    if len(files) == 1 and (wanted == "best" or kind == "video/mp4"):
        return files[0], ()
    for container in ("mp4", "matroska"):
        out = Path(scratch) / f"whole.{container}"
        try:
            _together(files, out, container)
        except (av.FFmpegError, ValueError):
            continue
        return out, (() if container == "mp4" else ("the film does not fit into MP4; it is in Matroska",))
    raise BadInput(FIELD, "The film at this address cannot be read.")


def _together(files: list[Path], out: Path, container: str) -> None:
    """Copy the first film and the first sound of the files into one container."""
    options = {"movflags": "+faststart"} if container == "mp4" else {}
    with ExitStack() as stack:
        target = stack.enter_context(av.open(str(out), "w", format=container, options=options))
        packets = []
        for kind, path in (("video", files[0]), ("audio", files[-1])):
            source = stack.enter_context(opened(str(path), FIELD))
            stream = next((stream for stream in source.streams if stream.type == kind), None)
            if stream is not None:
                packets.append(_packets(source, stream, target.add_stream_from_template(stream)))
        for _, packet in heapq.merge(*packets, key=lambda pair: pair[0]):
            target.mux(packet)


def _packets(source: InputContainer, stream: Any, copy: Any) -> Iterator[tuple[float, Any]]:
    """Yield the packets of a stream with their times, made out to its copy."""
    for packet in source.demux(stream):
        if packet.dts is not None:
            at = float(packet.dts * packet.time_base)
            packet.stream = copy
            yield at, packet


def _too_large() -> BadInput:
    return BadInput(FIELD, f"The film is larger than {MAX_BYTES // 1_000_000} MB.")
