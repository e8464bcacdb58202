"""The catalogue: model cards, their input schemas and their prices."""

from calotype.catalog.bill import Line
from calotype.catalog.card import ANY_REGION, Card, Checked, Declaration, Route
from calotype.catalog.catalog import Catalog
from calotype.catalog.files import CardError
from calotype.catalog.prices import Delivered, Pricing, Quote, Rate, captured, cost_of, quote, rates

__all__ = [
    "ANY_REGION",
    "Card",
    "CardError",
    "Catalog",
    "Checked",
    "Declaration",
    "Delivered",
    "Line",
    "Pricing",
    "Quote",
    "Rate",
    "Route",
    "captured",
    "cost_of",
    "quote",
    "rates",
]
