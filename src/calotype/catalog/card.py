"""Model cards: what a model is, what it takes, and the routes that can run it."""

from collections.abc import Container
from datetime import date
from typing import Any, Literal

from msgspec import Struct

from calotype.catalog.rules import AnyRule
from calotype.catalog.schema import InputSchema
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass, Operation, Tier

Status = Literal["active", "planned", "deprecated", "retired"]
OutputKind = Literal["image", "video", "audio", "text", "file", "data"]
ANY_REGION = "*"
SANDBOX = "the sandbox"
"""The source of costs at an upstream on this very machine, which bills nobody."""


class Declaration(Struct, frozen=True):
    """The operator's statement that a provider may process PHI: an agreement and its last day."""

    reference: str
    expires: date

    def valid(self, today: date) -> bool:
        """Say whether the agreement is in force; its last day counts."""
        return bool(self.reference) and today <= self.expires


class Route(Struct, frozen=True):
    """One way to run a model: the provider instance, what it calls the model, and where it may be used.

    `operations` narrows a family's route to some of the card's operations (none named: all of them). `fields` renames
    card fields to upstream fields and `constants` are always sent. `cost` is what the provider
    charges us; with `cost_source` `unknown` it gives the unit only. `priced` says whether a retail price exists;
    `example_cost_micro` and `example_micro` are the upstream cost and the retail price of the card's example, by which
    routes and models are put in order. `needs` names what must be on this machine beside the provider, as
    `weights:<id>`, `package:<module>` or `pipeline:<name>`.
    `streams` says that a caller who listens may be shown pieces of the result as they come, `realtime` that frames of a
    session go over a WebSocket to the upstream.
    """

    provider: str
    kind: str
    upstream: str
    cost: AnyRule
    cost_source: str = "unknown"
    operations: frozenset[Operation] = frozenset()
    fields: dict[str, str] = {}
    constants: dict[str, Any] = {}
    regions: frozenset[str] = frozenset({ANY_REGION})
    phi: Declaration | None = None
    key_classes: frozenset[KeyClass] = frozenset({KeyClass.PAID, KeyClass.UNLIMITED})
    streams: bool = True
    realtime: bool = False
    needs: tuple[str, ...] = ()
    priced: bool = False
    example_cost_micro: int = 0
    example_micro: int = 0

    @property
    def cost_known(self) -> bool:
        """Whether somebody published what this costs."""
        return self.cost_source != "unknown"

    @property
    def unbilled(self) -> bool:
        """Whether it costs nothing only because its upstream is on this very machine."""
        return self.cost_source == SANDBOX

    def runs(self, available: Container[str]) -> bool:
        """Say whether its provider is set up and everything it needs is here."""
        return self.provider in available and not self.lacks(available)

    def lacks(self, available: Container[str]) -> tuple[str, ...]:
        """Return what it needs on this machine that is not here."""
        return tuple(need for need in self.needs if need not in available)

    def serves(self, operation: Operation) -> bool:
        """Say whether this route can do an operation of its card."""
        return not self.operations or operation in self.operations

    def upstream_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the input in the upstream's field names, constants included."""
        return {**{self.fields.get(name, name): value for name, value in fields.items()}, **self.constants}


class Checked(Struct, frozen=True):
    """An accepted input with its defaults filled in, and what the caller should know about it."""

    input: dict[str, Any]
    warnings: tuple[str, ...] = ()


class Card(Struct, frozen=True, eq=False):
    """A model as clients see it. `origin` is the file it was read from, `example` an input that works.

    `count` names the field that asks for several outputs; `outputs` is how many each of them makes. `price` is an
    explicit retail rule; without it the price is the route's cost plus the margin. `deadline_s` is how long a job may
    take where that is longer than the server's own limit. `csv_rows` are the rows of the reference list of models that
    this card stands for.
    """

    id: str
    title: str
    operations: tuple[Operation, ...]
    output: OutputKind
    schema: InputSchema
    routes: tuple[Route, ...]
    example: dict[str, Any]
    origin: str
    aliases: tuple[str, ...] = ()
    description: str = ""
    category: str = ""
    status: Status = "active"
    shutdown_date: date | None = None
    replacement: str | None = None
    tags: tuple[str, ...] = ()
    licence: str | None = None
    label: str | None = None
    preview: bool = False
    tier: Tier | None = None
    count: str | None = None
    outputs: int = 1
    deadline_s: int | None = None
    price: AnyRule | None = None
    warnings: tuple[str, ...] = ()
    csv_rows: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Everything a client may call it: the id, then the aliases."""
        return (self.id, *self.aliases)

    @property
    def fields(self) -> frozenset[str]:
        """The names of the input fields it takes."""
        return self.schema.fields

    @property
    def media_fields(self) -> dict[str, str]:
        """The input fields that hold media, and of which kind: `image`, `audio` or `video`."""
        return self.schema.media

    def check(self, fields: dict[str, Any]) -> Checked:
        """Check an input against the schema and fill in its defaults.

        Raises:
            Problem: `invalid_input` with the field, the rule and what would be accepted.

        """
        return Checked(self.schema.check(fields, self.id), self.warnings)

    def outputs_of(self, fields: dict[str, Any]) -> int:
        """Return how many outputs an input asks for."""
        asked = fields.get(self.count) if self.count is not None else None
        return self.outputs * int(asked) if asked else self.outputs

    def retired(self, today: date) -> bool:
        """Say whether it may no longer be used on that day."""
        return self.status == "retired" or (self.shutdown_date is not None and self.shutdown_date <= today)

    def status_here(self, available: Container[str]) -> Status:
        """Return the status on this server: a planned model is active while a worker of the operator's can run it."""
        runs = self.status == "planned" and any(route.runs(available) for route in self.routes)
        return "active" if runs else self.status

    def retirement(self) -> Problem:
        """Return the refusal of a retired model, which names its replacement."""
        instead = f" Use {self.replacement} instead." if self.replacement else ""
        data = {"replacement": self.replacement} if self.replacement else {}
        return Problem(Code.MODEL_RETIRED, f"{self.id} is retired.{instead}", field="model", data=data)
