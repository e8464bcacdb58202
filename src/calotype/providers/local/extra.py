"""Packages of the extras: imported where first needed, with a plain sentence when they are missing."""

import importlib
from typing import Any

from calotype.providers.local.messages import Unavailable

THREADS = 2
"""Threads of an inference engine; the machine serves requests beside it."""


def engine(module: str, extra: str = "local") -> Any:
    """Return a module of an extra.

    Raises:
        Unavailable: it is not installed here.

    """
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise Unavailable(f'This model needs {name}: pip install "calotype[{extra}]".') from None


def onnx_session(path: str) -> Any:
    """Return a session of onnxruntime that uses few threads and gives its memory back."""
    onnxruntime = engine("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
