"""How the server's process is set up: memory, garbage collection, thread switching and file descriptors."""

import contextlib
import ctypes
import gc
import resource
import sys

SWITCH_S = 0.0005
"""The writer's thread gives up the interpreter lock at every statement; with Python's 5 ms it would wait as long to
get it back from a busy event loop."""
GC_THRESHOLDS = (50_000, 20, 100)
"""Requests make few cycles; the default of 700 spends a tenth of the time looking for them."""

MOST_FILES = 1 << 20

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 64 * 1024 * 1024
MAPPED_BYTES = 32 * 1024 * 1024
"""Blocks below this come from the heap. By default each buffer of a picture is mapped and given back, and the page
faults of a fresh mapping cost twenty times the copy (measured: 823 µs for 1 MiB, 38 µs from the heap)."""


def set_up() -> None:
    """Set the process up for serving; call it once, when everything is imported and before the loop starts."""
    with contextlib.suppress(OSError, AttributeError):  # glibc only; elsewhere the allocator stays as it is
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    _raise_file_limit()


def _raise_file_limit() -> None:
    """Allow as many open files as the machine lets us: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
