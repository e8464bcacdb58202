"""local/sketch: procedural illustration of a prompt. No model, no network, no state."""

from calotype.providers.local.sketch.picture import LABEL, Sketch, render

__all__ = ["LABEL", "Sketch", "render"]
