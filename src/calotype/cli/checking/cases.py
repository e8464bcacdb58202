"""What is run to check a card: each route by itself, for each operation it serves, with an input that works."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from calotype.catalog import Card, Catalog, Route
from calotype.catalog.schema import Size
from calotype.kernel.generation import KeyClass, Operation
from calotype.providers.registry import LOCAL

SAMPLES = "https://example.com/"
"""Addresses of files in the cards' examples begin with it."""
SOURCES = {
    Operation.IMAGE_TO_IMAGE: "image", Operation.IMAGE_TO_VIDEO: "image", Operation.VIDEO_TO_VIDEO: "video",
}  # fmt: skip
"""The kind of file without which an operation is another one."""
NAMES = {
    "image": "picture.png", "video": "film.mp4", "audio": "speech.mp3", "document": "report.pdf",
    "archive": "pictures.zip",
}  # fmt: skip
"""A sample of each kind of file."""
LENGTHS = ("seconds", "duration")
FEW_TOKENS = 8


class Case(Struct, frozen=True):
    """One run: a card that has this route and this operation and no others (`only`), and the input it gets.

    `listen` says that somebody wants to see the pieces of the result as they come.
    """

    card: Card
    only: Card
    fields: dict[str, Any]
    listen: bool = False

    @property
    def route(self) -> Route:
        """The route it runs on."""
        return self.only.routes[0]

    @property
    def operation(self) -> Operation:
        """What it does."""
        return self.only.operations[0]

    @property
    def key_class(self) -> KeyClass:
        """Who asks: a caller that pays, where the route serves one."""
        return KeyClass.PAID if KeyClass.PAID in self.route.key_classes else KeyClass.TEST


def cases_of(cards: Iterable[Card]) -> tuple[Case, ...]:
    """Return what there is to run for these cards; retired ones have nothing."""
    found: list[Case] = []
    for card in cards:
        if card.status == "retired":
            continue
        for route in card.routes:
            for operation in card.operations:
                if not route.serves(operation):
                    continue
                only = replace(
                    card, id=f"{card.id}#{len(found)}", aliases=(), routes=(route,), operations=(operation,),
                    status="active", shutdown_date=None, replacement=None,
                )  # fmt: skip
                fields = input_for(card, operation, brief=route.kind == LOCAL)
                found.append(Case(card, only, fields))
                if operation is Operation.CHAT and route.streams:
                    found.append(Case(card, only, fields, listen=True))
    return tuple(found)


def catalog_for(catalog: Catalog, cases: Iterable[Case]) -> Catalog:
    """Return the catalogue with a card for each case beside its own; prices an operator set hold for both."""
    cases = tuple(cases)
    pricing = catalog.pricing
    own = {case.only.id: pricing.overrides[case.card.id] for case in cases if case.card.id in pricing.overrides}
    cards = (*catalog.cards(everything=True), *(case.only for case in cases))
    return Catalog(cards, replace(pricing, overrides={**pricing.overrides, **own}))


def input_for(card: Card, operation: Operation, *, brief: bool = False) -> dict[str, Any]:
    """Return the card's example as an input for one of its operations, its files samples of this machine.

    `brief` asks for as little work as it can.
    """
    media = card.media_fields
    fields = {name: _sampled(value, media[name]) if name in media else value for name, value in card.example.items()}
    source = SOURCES.get(operation, "")
    name = next((name for name, kind in media.items() if kind == source), None)
    if name is not None and not any(media.get(given) == source for given in fields):
        address = SAMPLES + NAMES[source]
        fields[name] = [address] if card.schema.properties[name].get("type") == "array" else address
    if operation.value.startswith("text-to-"):
        others = len(card.operations) > 1
        fields = {
            name: v for name, v in fields.items() if not (others and name in media) or name in card.schema.required
        }
    return _brief(card, fields) if brief else fields


def hosted(value: Any, base_url: str) -> Any:
    """Return an input whose sample files are at another address."""
    if isinstance(value, str):
        return f"{base_url}/{value.removeprefix(SAMPLES)}" if value.startswith(SAMPLES) else value
    if isinstance(value, list):
        return [hosted(item, base_url) for item in value]
    if isinstance(value, dict):
        return {name: hosted(item, base_url) for name, item in value.items()}
    return value


def _sampled(value: Any, kind: str) -> Any:
    """Return a sample in the place of a file that is somewhere else."""
    if isinstance(value, list):
        return [_sampled(item, kind) for item in value]
    elsewhere = isinstance(value, str) and value.startswith(("http://", "https://")) and not value.startswith(SAMPLES)
    return SAMPLES + NAMES.get(kind, NAMES["image"]) if elsewhere else value


def _brief(card: Card, fields: dict[str, Any]) -> dict[str, Any]:
    found = dict(fields)
    for name, rule in card.schema.properties.items():
        if name in LENGTHS and "minimum" in rule:
            found[name] = rule["minimum"]
        elif name == "max_tokens":
            found[name] = min(FEW_TOKENS, rule.get("maximum", FEW_TOKENS))
        elif name == "size" and (bounds := rule.get("x-size")):
            size = Size({}, bounds, [])
            side = -(-max(size.min, 64) // size.multiple) * size.multiple
            found[name] = f"{side}x{side}"
    return found
