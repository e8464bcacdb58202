"""How the server's process is set up: garbage collection, thread switching and file descriptors."""

import gc
import resource
import sys

SWITCH_S = 0.0005
"""The writer's thread gives up the interpreter lock at every statement; with Python's 5 ms it would wait as long to
get it back from a busy event loop."""
GC_THRESHOLDS = (50_000, 20, 100)
"""Requests make few cycles; the default of 700 spends a tenth of the time looking for them."""


def set_up() -> None:
    """Set the process up for serving; call it once, when everything is imported and before the loop starts."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
