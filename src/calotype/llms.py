"""`/llms.txt`, `/llms-full.txt`, `/models/{id}/llms.txt`: what is offered here, for language models (llmstxt.org)."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from calotype.card_text import field_lines, price_lines
from calotype.catalog import Card, Catalog
from calotype.dialects.endpoints import Endpoint
from calotype.dialects.jobs.app import PREFIX
from calotype.dialects.jobs.services import BY_MODEL, SERVICES, Service
from calotype.kernel.generation import Operation

TEXT = "text/plain; charset=utf-8"
HEAD = "# Calotype\n\n> One API in front of every image, video, audio and language model."


class Dialect(Struct, frozen=True):
    """An API shape in words. `base` is where it is served, `documented` the beginning of its endpoints' paths.

    A dialect whose calls are not in the table of endpoints has no `documented`.
    """

    name: str
    title: str
    base: str
    key: str
    words: str
    documented: str | None = None


DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "openai", "OpenAI", "/v1", "Authorization: Bearer $CALOTYPE_KEY",
        "OpenAI's clients work with this as base URL: pictures, films, speech, transcription, chat, embeddings, files.",
        "/v1/images/",
    ),
    Dialect(
        "fal", "fal", "/fal", "Authorization: Key $CALOTYPE_KEY",
        "Any model by its id: POST /fal/run/{id} waits for the result. POST /fal/queue/{id} answers status_url and"
        " response_url to poll. fal's clients work unchanged.",
    ),
    Dialect(
        "jobs", "Jobs", PREFIX, "Authorization: Bearer $CALOTYPE_KEY",
        "Services priced in credits: a POST answers job_id, a GET of the status path tells how it stands.",
    ),
    Dialect(
        "image", "Simple images", "/api/v1/image", "Authorization: Bearer $CALOTYPE_KEY",
        "One call for a picture, with fallback models, retries, a timeout and a cache.", "/api/v1/image/",
    ),
    Dialect(
        "content", "Content", "/v1/content", "Authorization: Bearer $CALOTYPE_KEY",
        "Pictures and films at one price each; /catalog.json and /v1/search say what there is, without a key.",
        "/v1/content/",
    ),
)  # fmt: skip


class Site(Struct, frozen=True):
    """What the texts are about: the models, the documented endpoints, and where clients reach this server."""

    catalog: Catalog
    endpoints: Sequence[Endpoint]
    url: str

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """The dialects that are served: those that document endpoints only where there are some."""
        return tuple(
            one for one in DIALECTS
            if one.documented is None or any(item.path.startswith(one.documented) for item in self.endpoints)
        )  # fmt: skip


def texts(site: Site) -> dict[str, tuple[str, bytes]]:
    """Return the pages by path, each with its content type; a model has one under each of its names."""
    pages = {"/llms.txt": short(site), "/llms-full.txt": full(site)}
    for card in site.catalog.cards(everything=True):
        page = model_page(card, site)
        pages |= {f"/models/{name}/llms.txt": page for name in card.names}
    return {path: (TEXT, page.encode()) for path, page in pages.items()}


def short(site: Site) -> str:
    """Return the index: APIs, endpoints, and models with a link to the text of each."""
    lines = [*_beginning(site), "## Endpoints", ""]
    lines += [f"- `{one.method} {one.path}`: {one.summary}. {one.words}" for one in site.endpoints]
    lines += ["", *_services(site), "## Models", ""]
    for card in site.catalog.cards():
        operations = ", ".join(card.operations)
        lines.append(
            f"- [{card.id}]({site.url}/models/{card.id}/llms.txt){_state(card)}: {operations}. {card.description}"
        )
    more = [("Everything in one text", "llms-full.txt"), ("OpenAPI", "openapi.json"), ("Prices", "v1/pricing")]
    lines += ["", "## More", "", *(f"- [{title}]({site.url}/{path})" for title, path in more), ""]
    return "\n".join(lines)


def full(site: Site) -> str:
    """Return everything: each endpoint with a call that works, each service, and the text of each model."""
    lines = [*_beginning(site), "## Endpoints", ""]
    for one in site.endpoints:
        lines += [f"### {one.method} {one.path}", "", f"{one.summary}. {one.words}", "", *_block(curl(one, site.url))]
    lines += [*_services(site), "## Models", ""]
    for card in site.catalog.cards():
        lines.append(model_page(card, site).replace("\n## ", "\n#### ").replace("# ", "### ", 1))
    return "\n".join(lines)


def model_page(card: Card, site: Site) -> str:
    """Return what one model takes, makes and costs, and calls that ask for it."""
    lines = [f"# {card.id}", "", *([f"> {card.description}", ""] if card.description else [])]
    facts = (
        ("Title", card.title), ("Does", ", ".join(card.operations)), ("Makes", card.output), ("Status", card.status),
        ("Also called", ", ".join(card.aliases)), ("What it is", card.label), ("Licence", card.licence),
        ("Ends on", card.shutdown_date), ("Use instead", card.replacement),
    )  # fmt: skip
    lines += [f"- {name}: {value}" for name, value in facts if value]
    if card.status == "retired":
        return "\n".join([*lines, "", "Requests for it are refused with 410.", ""])
    if card.status == "planned":
        lines.append("- It runs once the operator has set up its provider; GET /v1/models tells whether that is so.")
    lines += ["", "## Price", "", *price_lines(card, site.catalog.pricing), "", "## Input", "", *field_lines(card)]
    lines += ["", "## Calls", ""]
    for dialect in site.dialects:
        lines += _call(card, dialect, site)
    return "\n".join(lines)


def cards_of(service: Service, catalog: Catalog) -> list[Card]:
    """Return the cards of a service that are in force."""
    found = (catalog.get(model) for model in service.models)
    return [card for card in found if card is not None and card.status != "retired"]


def curl(endpoint: Endpoint, url: str) -> str:
    """Write a call that works as it stands, given a key in `$CALOTYPE_KEY`."""
    parts = [f"curl {url}{endpoint.path}" if endpoint.method == "GET" else
             f"curl -X {endpoint.method} {url}{endpoint.path}"]  # fmt: skip
    if not endpoint.public:
        parts.append('-H "Authorization: Bearer $CALOTYPE_KEY"')
    if endpoint.example is not None:
        parts += _json_parts(endpoint.example)
    elif endpoint.form is not None:
        parts.append("-F file=@picture.png")
    if endpoint.redirects:
        parts.append("-L -o result")
    return " \\\n  ".join(parts)


def _beginning(site: Site) -> list[str]:
    lines = [
        HEAD, "", "Every API here runs the same models with the same keys, prices and policy. A refusal names the field"
        " and what would be accepted, and costs nothing; a result is charged once, when it is stored.", "",
        f"- Base: {site.url}", "- Keys: the operator makes them (`calotype keys create`).",
        "- Send an `Idempotency-Key` and a request sent twice is carried out once.",
        "- `X-PHI: true` and `X-Region` bound where a request may be processed.", "", "## APIs", "",
    ]  # fmt: skip
    lines += [f"- {one.title} ({site.url}{one.base}; `{one.key}`): {one.words}" for one in site.dialects]
    return [*lines, ""]


def _services(site: Site) -> list[str]:
    """Return the services that have a model in force, as far as they are not among the endpoints."""
    known = {one.path for one in site.endpoints}
    undocumented = [one for one in SERVICES if PREFIX + one.create not in known]
    lines = [_service_line(one, cards) for one in undocumented if (cards := cards_of(one, site.catalog))]
    return ["## Services of the jobs API", "", *lines, ""] if lines else []


def _service_line(one: Service, cards: list[Card]) -> str:
    chosen = f" `{one.chosen_by}` chooses among {', '.join(card.id for card in cards)}." if one.chosen_by else ""
    return (
        f"- `POST {PREFIX}{one.create}`: {one.title}. {one.words}{chosen}"
        f" Look at it with `GET {PREFIX}{one.status}{{job_id}}`; results: {', '.join(one.results)}."
    )


def _call(card: Card, dialect: Dialect, site: Site) -> list[str]:
    """Return how a dialect asks for a model; nothing where it does not offer it, or under other fields."""
    if dialect.name == "fal":
        way = "queue" if card.output == "video" else "run"
        return _asked(f"{site.url}/fal/{way}/{card.id}", dialect, card.example)
    if dialect.name == "jobs":
        service = BY_MODEL.get(card.id)
        if service is None:
            return []
        said = {own: name for name, own in service.names.items()}
        body = {said.get(name, name): value for name, value in card.example.items()}
        if service.chosen_by is not None:
            body[service.chosen_by] = card.id
        called = _asked(f"{site.url}{PREFIX}{service.create}", dialect, body)
        return [*called, f"Then `GET {PREFIX}{service.status}{{job_id}}` until it has ended.", ""]
    if dialect.name != "openai":
        return []
    found = next((one for one in site.endpoints if _takes(one, card, dialect)), None)
    if found is None:
        return []
    return _asked(f"{site.url}{found.path}", dialect, {"model": card.id, **card.example})


def _takes(endpoint: Endpoint, card: Card, dialect: Dialect) -> bool:
    """Say whether a call of a dialect makes what a card does first, of the fields of the card's example."""
    operations: tuple[Operation, ...] = endpoint.operations
    if not endpoint.path.startswith(dialect.base) or endpoint.body is None or card.operations[0] not in operations:
        return False
    known = {field.encode_name for field in msgspec.structs.fields(endpoint.body)}
    return known >= {"model", *card.example}


def _asked(address: str, dialect: Dialect, body: dict[str, Any]) -> list[str]:
    parts = [f"curl -X POST {address}", f'-H "{dialect.key}"', *_json_parts(body)]
    return [f"{dialect.title}:", "", *_block(" \\\n  ".join(parts))]


def _json_parts(body: dict[str, Any]) -> list[str]:
    """Write a JSON body for a shell, whose quotes end at an apostrophe."""
    text = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    return ['-H "Content-Type: application/json"', f"-d '{text}'"]


def _block(text: str) -> list[str]:
    return ["```sh", text, "```", ""]


def _state(card: Card) -> str:
    return "" if card.status == "active" else f" ({card.status})"
