"""What this server can reach: providers that are set up, and what routes need of this machine."""

import importlib.util
from collections.abc import Callable, Container, Iterable
from functools import cache
from pathlib import Path

from calotype.providers.local.weights import is_pulled

MODELS_FOLDER = "models"
"""Where pulled weights lie in the data directory."""


class Available(Container[str]):
    """Holds the names of providers, and `weights:<id>` and `package:<module>` where these are on this machine.

    Weights are looked up each time, so that a running server sees what was pulled a moment ago. A provider for which
    `empty` is true has no worker yet.
    """

    def __init__(
        self, providers: Iterable[str], models_dir: Path, *, empty: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.providers = frozenset(providers)
        self._models_dir = models_dir
        self._empty = empty

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        kind, colon, rest = name.partition(":")
        if not colon:
            return name in self.providers and not self._empty(name)
        return is_pulled(self._models_dir, rest) if kind == "weights" else kind == "package" and _installed(rest)


@cache
def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
