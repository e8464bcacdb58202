"""What there is to choose from: voices, platforms, language models, and what tokens cost."""

from msgspec import Struct

from calotype.catalog import Card, rates
from calotype.dialects.door import Exchange
from calotype.dialects.jobs.answers import tell
from calotype.dialects.jobs.credits import Amount
from calotype.dialects.jobs.desk import Desk
from calotype.dialects.jobs.voices import VOICES
from calotype.kernel.errors import Problem
from calotype.kernel.generation import Operation

CHAT_MODEL = "phaya-gpt"
EMBEDDING_MODEL = "qwen/qwen3-embedding-8b"


class Voice(Struct):
    """A voice."""

    name: str
    description: str


class Voices(Struct):
    """Every voice."""

    voices: list[Voice]


class Platforms(Struct):
    """Well-known sites that can be downloaded from; others may work too."""

    success: bool
    platforms: tuple[str, ...]


class JobsChatModel(Struct):
    """A language model."""

    id: str
    name: str
    description: str
    default: bool


class JobsChatModels(Struct):
    """Every language model."""

    success: bool
    models: list[JobsChatModel]


class TokenPrice(Struct):
    """What `per` units of a kind cost."""

    model: str
    unit: str
    per: int
    credits: Amount


class TokenPrices(Struct):
    """Prices of models; one without a price here is not listed and cannot be used."""

    success: bool
    pricing: list[TokenPrice]


async def voices(_desk: Desk, x: Exchange) -> None:
    """Answer the voices; no key is asked for."""
    await tell(x, Voices([Voice(name, words) for name, words in VOICES]))


async def platforms(desk: Desk, x: Exchange) -> None:
    """Answer from where films can be fetched."""
    await desk.enter(x)
    await tell(x, Platforms(True, desk.platforms))


async def chat_models(desk: Desk, x: Exchange) -> None:
    """Answer which language models a chat may name."""
    await desk.enter(x)
    listed = [
        JobsChatModel(card.id, card.title, card.description, card.id == CHAT_MODEL)
        for card in _offered(desk, Operation.CHAT, CHAT_MODEL)
    ]
    await tell(x, JobsChatModels(True, listed))


async def chat_pricing(desk: Desk, x: Exchange) -> None:
    """Answer what language models cost."""
    await desk.enter(x)
    await tell(x, TokenPrices(True, _prices(desk, Operation.CHAT, CHAT_MODEL)))


async def embedding_pricing(desk: Desk, x: Exchange) -> None:
    """Answer what vectors cost."""
    await desk.enter(x)
    await tell(x, TokenPrices(True, _prices(desk, Operation.EMBEDDINGS, EMBEDDING_MODEL)))


def _offered(desk: Desk, operation: Operation, usual: str) -> list[Card]:
    """Return the models in force for an operation, the usual one first."""
    found = [card for card in desk.catalog.by_operation(operation) if card.status != "retired"]
    return sorted(found, key=lambda card: (card.id != usual, card.id))


def _prices(desk: Desk, operation: Operation, usual: str) -> list[TokenPrice]:
    found = []
    for card in _offered(desk, operation, usual):
        route = next((one for one in card.routes if one.priced and one.runs(desk.available)), None)
        try:
            rows = rates(card, route, desk.catalog.pricing) if route is not None else ()
        except Problem:
            rows = ()
        found += [TokenPrice(card.id, row.unit, row.per, desk.rate.of(row.price_micro)) for row in rows]
    return found
