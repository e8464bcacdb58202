"""How an endpoint is described: each dialect has one table of them, from which `/openapi.json` and `/docs` are made."""

from typing import Any

from msgspec import Struct

from calotype.kernel.generation import Operation


class Parameter(Struct, frozen=True):
    """A parameter in the path or the query."""

    name: str
    words: str
    schema: dict[str, Any]
    place: str = "query"


class Endpoint(Struct, frozen=True):
    """One route as it is documented; `errors` are the statuses it may refuse with beside those every route has.

    `operations` says which models its body may name (all where none is named); `more_types` are content types that an
    answer may have beside `media_type`, such as that of a stream. A body is told by its type, by its `schema`, or by
    the `card` whose input it is, with `further` properties; `error` is the type of refusals where it is not OpenAI's.
    A `plain` call runs no model although it has a body.
    """

    method: str
    path: str
    group: str
    summary: str
    words: str
    answer: type | None = None
    status: int = 200
    media_type: str = "application/json"
    more_types: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()
    body: type | None = None
    schema: dict[str, Any] | None = None
    card: str | None = None
    further: dict[str, Any] = {}
    error: type | None = None
    form: dict[str, Any] | None = None
    example: dict[str, Any] | None = None
    answer_example: dict[str, Any] | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    public: bool = False
    redirects: bool = False
    plain: bool = False

    @property
    def name(self) -> str:
        """The operation's id: `post_v1_images_generations`."""
        return f"{self.method.lower()}_{self.path.strip('/').translate(_PLAIN)}"


_PLAIN = str.maketrans({"/": "_", "{": "", "}": "", ".": "_"})
