"""Text-to-image pipelines that the operator has on disk: found, looked through, described by cards, and run.

A pipeline is a folder as diffusers saves it, or its export for OpenVINO. Callers choose among the pipelines that were
found when the server started, by name; no request names a path.
"""

from calotype.providers.local.diffusion.cards import NEEDS, card_of, model_of, pipeline_cards
from calotype.providers.local.diffusion.finding import Pipeline, find_pipelines

__all__ = ["NEEDS", "Pipeline", "card_of", "find_pipelines", "model_of", "pipeline_cards"]
