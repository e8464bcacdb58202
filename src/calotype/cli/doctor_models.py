"""What `calotype doctor` says about the models of this machine: which of them lack something, and what brings it."""

from msgspec import Struct

from calotype.catalog import Catalog
from calotype.providers.available import MODELS_FOLDER, Available
from calotype.providers.registry import LOCAL
from calotype.routing.rules import how_to_have
from calotype.settings import Settings


class Missing(Struct, frozen=True):
    """A model that cannot run here yet: what it lacks, and the steps that help, in order."""

    model: str
    lacks: tuple[str, ...]
    steps: tuple[str, ...]


def local_models(settings: Settings) -> tuple[int, tuple[Missing, ...]]:
    """Return how many models this machine can run, and those that lack something."""
    catalog = Catalog.load(settings.cards_dir, settings.providers)
    available = Available({LOCAL}, settings.data_dir / MODELS_FOLDER)
    missing: list[Missing] = []
    running = 0
    for card in catalog.cards():
        routes = [route for route in card.routes if route.provider == LOCAL]
        if any(route.runs(available) for route in routes):
            running += 1
        elif routes:
            lacks = min((route.lacks(available) for route in routes), key=len)
            missing.append(Missing(card.id, lacks, tuple(dict.fromkeys(map(how_to_have, lacks)))))
    return running, tuple(missing)
