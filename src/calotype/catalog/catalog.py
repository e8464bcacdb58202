"""The catalogue: every model card in force, by id, alias and operation. It reads files once and then only memory."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from calotype.catalog.build import build
from calotype.catalog.card import Card
from calotype.catalog.files import BUILTIN, CardError, CardFile, read_card, read_folder
from calotype.catalog.prices import Pricing
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation
from calotype.kernel.money import MAX_MICRO
from calotype.settings import ProviderSettings

NAME_CHARS = 200
"""A longer model name is not looked at for near matches."""


class Catalog:
    """Every model card in force."""

    def __init__(self, cards: Iterable[Card], pricing: Pricing) -> None:
        self.pricing = pricing
        self._cards = {card.id: card for card in cards}
        self._names: dict[str, Card] = dict(self._cards)
        for card in self._cards.values():
            for alias in card.aliases:
                taken = self._names.setdefault(alias, card)
                if taken is not card or alias in self._cards:
                    raise CardError(card.origin, "aliases", f"{alias!r} already names {taken.id}; choose another")
        for card in self._cards.values():
            if card.replacement is not None and card.replacement not in self._names:
                known = ", ".join(self._near(card.replacement)) or "an id or alias in the catalogue"
                raise CardError(card.origin, "replacement", f"{card.replacement!r} is not a model; use {known}")
        self._by_operation = {
            operation: tuple(card for card in self._cards.values() if operation in card.operations)
            for operation in Operation
        }

    @classmethod
    def load(
        cls,
        cards_dir: Path | None = None,
        providers: Mapping[str, ProviderSettings] | None = None,
        pricing: Pricing | None = None,
        found: Iterable[tuple[str, dict[str, Any]]] = (),
    ) -> "Catalog":
        """Read the built-in cards, then the operator's: a card there replaces another one of the same id.

        `found` are cards, each with its origin, of what this machine was found to have.

        Raises:
            CardError: a card or a setting about one that cannot be used, with file, key and what would be accepted.

        """
        providers, pricing = providers or {}, pricing or Pricing()
        builtin, fragments = read_folder(BUILTIN, {})
        builtin += [(origin, read_card(origin, raw, fragments)) for origin, raw in found]
        own = read_folder(cards_dir, fragments)[0] if cards_dir is not None else []
        files: dict[str, tuple[str, CardFile]] = {}
        for group in (builtin, own):
            seen: dict[str, str] = {}
            for origin, card in group:
                if card.id in seen:
                    raise CardError(origin, "id", f"{card.id!r} is already in {seen[card.id]}; one card for each id")
                seen[card.id] = origin
                files[card.id] = (origin, card)
        _known_models(files, providers, pricing)
        return cls((build(origin, card, providers, pricing) for origin, card in files.values()), pricing)

    def get(self, name: str) -> Card | None:
        """Return the card of an id or alias, retired ones too; None when there is none."""
        return self._names.get(name)

    def find(self, name: str) -> Card:
        """Return the usable card of an id or alias.

        Raises:
            Problem: `model_not_found` with near matches, or `model_retired` with the replacement.

        """
        card = self._names.get(name)
        if card is None:
            near = self._near(name)
            hint = (
                f" Did you mean {' or '.join(near)}?" if near else " GET /v1/models or calotype models list say more."
            )
            shown = name if len(name) <= 60 else name[:60] + "…"
            raise Problem(Code.MODEL_NOT_FOUND, f"No model {shown!r}.{hint}", field="model", data={"near": near})
        if card.status == "retired":
            raise card.retirement()
        return card

    def cards(self, *, everything: bool = False) -> tuple[Card, ...]:
        """Return the cards in order of id; retired ones only with `everything`."""
        return tuple(card for _, card in sorted(self._cards.items()) if everything or card.status != "retired")

    def by_operation(self, operation: Operation) -> tuple[Card, ...]:
        """Return the cards that can do an operation."""
        return self._by_operation[operation]

    def _near(self, name: str) -> list[str]:
        if len(name) > NAME_CHARS:
            return []
        usable = [known for known, card in self._names.items() if card.status != "retired"]
        lower = {known.lower(): known for known in usable}
        found = [lower[known] for known in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
        last = {known.lower().rpartition("/")[2]: known for known in usable}
        tails = difflib.get_close_matches(name.lower().rpartition("/")[2], last, n=3, cutoff=0.75)
        one_each: dict[str, str] = {}
        for known in (*found, *(last[tail] for tail in tails)):
            one_each.setdefault(self._names[known].id, known)
        return list(one_each.values())[:3]


def _known_models(
    files: Mapping[str, tuple[str, CardFile]], providers: Mapping[str, ProviderSettings], pricing: Pricing
) -> None:
    """Refuse settings about models that are not in the catalogue."""
    named = [(f"prices.{model}", model) for model in pricing.overrides]
    named += [(f"providers.{name}.models", model) for name, item in providers.items() for model in item.models]
    for key, model in named:
        if model not in files:
            near = difflib.get_close_matches(model, files, n=3, cutoff=0.5)
            hint = f"use {', '.join(near)}" if near else "use the id of a card"
            raise CardError("settings", key, f"{model!r} is not a model; {hint}, or add a card for it to cards_dir")
    for model, micro in pricing.overrides.items():
        if not 0 <= micro <= MAX_MICRO:
            raise CardError("settings", f"prices.{model}", f"must be a whole number of micro-USD from 0 to {MAX_MICRO}")
