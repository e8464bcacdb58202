"""`GET /models` and `GET /pricing`: what there is and what it costs, from one set of cards and one price function."""

from collections.abc import Container
from typing import Any
from urllib.parse import unquote

import msgspec

from calotype.catalog import Card, Catalog, rates
from calotype.dialects.door import Exchange
from calotype.dialects.openai.answers import JSON
from calotype.dialects.openai.desk import Desk
from calotype.kernel.errors import Problem
from calotype.kernel.generation import KeyClass, Region

_encode = msgspec.json.Encoder().encode

CREATED = 1_795_000_000
"""OpenAI's model object wants a time of creation; cards have none, so all of them share one."""


def model_object(card: Card, available: Container[str]) -> dict[str, Any]:
    """Encode a card as OpenAI's model object, with our own facts beside it."""
    body: dict[str, Any] = {
        "id": card.id,
        "object": "model",
        "created": CREATED,
        "owned_by": next((route.provider for route in card.routes if KeyClass.PAID in route.key_classes), "calotype"),
        "title": card.title,
        "description": card.description,
        "operations": [operation.value for operation in card.operations],
        "output": card.output,
        "status": card.status_here(available),
        "preview": card.preview,
        "tags": card.tags,
        "aliases": card.aliases,
    }
    if card.label is not None:
        body["label"] = card.label
    if card.shutdown_date is not None:
        body["shutdown_date"] = card.shutdown_date.isoformat()
    if card.replacement is not None:
        body["replacement"] = card.replacement
    return body


def model_list(catalog: Catalog, available: Container[str]) -> dict[str, Any]:
    """Encode every usable model."""
    return {"object": "list", "data": [model_object(card, available) for card in catalog.cards()]}


def rate_card(catalog: Catalog, available: Container[str], updated_at: int) -> dict[str, Any]:
    """Encode the public rate card (`wire/products.md A8`, with `class` for the column that says PHI or general)."""
    rows: list[dict[str, Any]] = []
    for card in catalog.cards():
        for route in card.routes:
            state = "general" if route.phi is None else "phi"
            if card.status_here(available) == "planned":
                state = "staged"
            elif not route.runs(available) or not route.priced:
                state = "no_route"
            try:
                prices = rates(card, route, catalog.pricing) if route.priced else ()
            except Problem:
                prices = ()
            for rate in prices:
                row: dict[str, Any] = {
                    "id": card.id,
                    "alias": card.aliases[0] if card.aliases else None,
                    "provider": route.provider,
                    "modality": card.output,
                    "region": "/".join(sorted(route.regions)).replace("*", Region.WORLD.value),
                    "class": "free" if state == "general" and rate.price_micro == 0 else state,
                    "unit": rate.unit,
                    "per": rate.per,
                    "price_micro": rate.price_micro,
                }
                if rate.when:
                    row["when"] = rate.when
                rows.append(row)
    return {
        "object": "list",
        "currency": "USD",
        "margin_bps": catalog.pricing.margin_bps,
        "updated_at": updated_at,
        "data": rows,
    }


async def get_models(desk: Desk, x: Exchange) -> None:
    """Answer the list of models."""
    await desk.door.enter(x, counted=False)
    await x.answer(200, [JSON], _encode(model_list(desk.catalog, desk.available)))


async def get_model(desk: Desk, x: Exchange) -> None:
    """Answer one model; slashes in its id may arrive as `%2F`."""
    await desk.door.enter(x, counted=False)
    await x.answer(200, [JSON], _encode(model_object(desk.catalog.find(unquote(x.rest)), desk.available)))


async def get_pricing(desk: Desk, x: Exchange) -> None:
    """Answer the public rate card; no key is asked for."""
    await x.answer(200, [JSON], _encode(rate_card(desk.catalog, desk.available, desk.started_at)))
