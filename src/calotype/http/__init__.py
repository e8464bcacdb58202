"""The way out: one client per upstream, the guard for addresses that came from outside, and downloads."""

from calotype.http.client import REFUSED, StreamedResponse, Upstream
from calotype.http.download import Downloaded, DownloadError, DownloadPermanent, DownloadRetryable, download
from calotype.http.guard import Blocked, Guard
from calotype.http.sinks import FileSink, MemorySink, Sink, SpoolSink

__all__ = [
    "REFUSED",
    "Blocked",
    "DownloadError",
    "DownloadPermanent",
    "DownloadRetryable",
    "Downloaded",
    "FileSink",
    "Guard",
    "MemorySink",
    "Sink",
    "SpoolSink",
    "StreamedResponse",
    "Upstream",
    "download",
]
