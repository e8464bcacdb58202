"""Card files: reading TOML into typed records; what is wrong is said with the file, the key and what would do."""

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from calotype.catalog.card import OutputKind, Status
from calotype.catalog.rules import AnyRule, Rule
from calotype.kernel.generation import KeyClass, Operation, Region, Tier

BUILTIN = Path(__file__).parent / "cards"
RULES: dict[str, type[Rule]] = {str(rule.__struct_config__.tag): rule for rule in get_args(AnyRule)}

Need = Annotated[str, Meta(pattern="^(weights|package|pipeline):[A-Za-z0-9._/-]+$")]
"""What a route needs on this machine beside its provider: pulled weights, a Python package, a folder that is sound."""

Fragments = Mapping[str, Mapping[str, Any]]
RegionName = Literal["*", "CH", "EU", "US", "UK", "ASIA", "ANZ", "LATAM", "MENA", "INDIA", "WORLD"]


class CardError(ValueError):
    """A card that cannot be used. The message names the file, the key and what would be accepted."""

    def __init__(self, origin: str, key: str, sentence: str) -> None:
        super().__init__(f"{origin}: {key}: {sentence}")
        self.origin = origin
        self.key = key


class RouteFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A `[[routes]]` table as it is written."""

    provider: str
    upstream: str
    kind: str | None = None
    operations: list[Operation] = []
    fields: dict[str, str] = {}
    constants: dict[str, Any] = {}
    regions: tuple[RegionName, ...] = ("*",)
    needs: tuple[Need, ...] = ()
    key_classes: list[KeyClass] | None = None
    streams: bool | None = None
    """Whether this model shows pieces of its result while it works, where not every model of the provider can."""
    realtime: bool = False
    """Whether this model takes frames over a WebSocket at the provider."""
    cost: AnyRule | None = None
    cost_source: str = "unknown"


class CardFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A card as it is written; `input` is the JSON Schema with its `$ref`s to shared fragments resolved."""

    id: str
    title: str
    operation: Operation | list[Operation]
    output: OutputKind
    input: dict[str, Any]
    example: dict[str, Any]
    aliases: list[str] = []
    description: str = ""
    category: str = ""
    status: Status = "active"
    shutdown_date: date | None = None
    replacement: str | None = None
    tags: list[str] = []
    licence: str | None = None
    label: str | None = None
    preview: bool = False
    tier: Tier | None = None
    count: str | None = None
    outputs: int = 1
    deadline_s: Annotated[int, Meta(ge=10, le=7 * 86_400)] | None = None
    """How long a job of this model may take where that is longer than the server's own limit (training)."""
    price: AnyRule | None = None
    csv_rows: list[int] = []
    """Rows of the reference list of models that this card stands for, the first row being 1."""
    routes: list[RouteFile] = []


def read_folder(folder: Path, fragments: Fragments) -> tuple[list[tuple[str, CardFile]], Fragments]:
    """Read every card of a folder, with the fragments of its `_*.toml` files added to those given.

    A file holds one card, or a family as `[[cards]]`.

    Raises:
        CardError: the folder or a file cannot be read, or a card is not well formed.

    """
    if not folder.is_dir():
        raise CardError(str(folder), "cards_dir", "is not a folder; name a folder of .toml cards")
    paths = sorted(folder.glob("*.toml"))
    known = {**fragments, **{path.name: _toml(path) for path in paths if path.name.startswith("_")}}
    cards: list[tuple[str, CardFile]] = []
    for path in paths:
        if path.name.startswith("_"):
            continue
        raw = _toml(path)
        family = raw["cards"] if list(raw) == ["cards"] else [raw]
        if not isinstance(family, list) or not all(isinstance(card, dict) for card in family):
            raise CardError(path.name, "cards", "must be a list of tables, written [[cards]]")
        cards += [(path.name, read_card(path.name, card, known)) for card in family]
    return cards, known


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CardError(path.name, "file", f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(path.name, "file", f"is not TOML: {error}") from error


def read_card(origin: str, raw: dict[str, Any], fragments: Fragments) -> CardFile:
    """Read one card as it would be written in a file.

    Raises:
        CardError: it is not well formed.

    """
    if isinstance(raw.get("input"), dict):
        raw = {**raw, "input": _resolved(origin, "input", raw["input"], fragments)}
    try:
        card = msgspec.convert(raw, CardFile)
    except msgspec.ValidationError as error:
        raise _explained(origin, raw, str(error)) from None
    if card.id == "auto" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", card.id):
        raise CardError(origin, "id", f"{card.id!r} is not an id: use letters, digits and . _ : / - (auto is taken)")
    return card


def _resolved(origin: str, key: str, node: Any, fragments: Fragments) -> Any:
    """Put shared fragments in the place of `{"$ref": "_shared.toml#/name"}`; keys beside the `$ref` win."""
    if isinstance(node, list):
        return [_resolved(origin, f"{key}[{index}]", item, fragments) for index, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    ref = node.get("$ref")
    if isinstance(ref, str) and ref.startswith("_"):
        name, _, pointer = ref.partition("#/")
        known = fragments.get(name)
        if known is None or pointer not in known:
            choices = ", ".join(f"{file}#/{item}" for file, items in fragments.items() for item in items)
            raise CardError(origin, f"{key}.$ref", f"{ref!r} is not a shared fragment; there are {choices or 'none'}")
        rest = {name: value for name, value in node.items() if name != "$ref"}
        node = {**known[pointer], **rest}
    return {name: _resolved(origin, f"{key}.{name}", value, fragments) for name, value in node.items()}


def _explained(origin: str, raw: dict[str, Any], message: str) -> CardError:
    """Turn a decoding error into the key it is about and what would be accepted there."""
    sentence, _, path = message.partition(" - at `")
    key = path.rstrip("`").removeprefix("$").lstrip(".")
    named = re.search(r"field `([^`]+)`", sentence)
    if named and "unknown" in sentence:
        accepted = _accepted_keys(raw, key)
        return CardError(origin, f"{key}.{named[1]}".lstrip("."), f"is not a known key; accepted: {accepted}")
    if named and "missing" in sentence:
        hint = f"; accepted: {', '.join(RULES)}" if named[1] == "unit" else ""
        return CardError(origin, f"{key}.{named[1]}".lstrip("."), f"is required{hint}")
    return CardError(origin, key or "card", f"{sentence}{_choices(key)}")


def _accepted_keys(raw: dict[str, Any], key: str) -> str:
    if not key:
        return ", ".join(CardFile.__struct_fields__)
    if re.fullmatch(r"routes\[[^]]*\]", key):
        return ", ".join(RouteFile.__struct_fields__)
    here: Any = raw
    for part in re.findall(r"[^.\[\]]+", key):
        here = here[int(part)] if isinstance(here, list) and part.isdigit() else dict(here).get(part, {})
    rule = RULES.get(here.get("unit", "")) if isinstance(here, dict) else None
    return ", ".join(("unit", *rule.__struct_fields__)) if rule else "see the built-in cards"


def _choices(key: str) -> str:
    """List the values that a key with a fixed choice takes."""
    last = re.sub(r"\[[^]]*\]", "", key).rpartition(".")[2]
    choices: dict[str, tuple[str, ...]] = {
        "operation": tuple(Operation),
        "operations": tuple(Operation),
        "output": get_args(OutputKind),
        "status": get_args(Status),
        "tier": tuple(Tier),
        "key_classes": tuple(KeyClass),
        "regions": ("*", *Region),
        "unit": tuple(RULES),
        "cost": tuple(RULES),
        "price": tuple(RULES),
    }
    return f"; accepted: {', '.join(choices[last])}" if last in choices else ""
