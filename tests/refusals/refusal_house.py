"""One server with all five APIs and an emulator behind every one of their models, for tables of what is refused."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2

from calotype.kernel.generation import Scope
from calotype.sandbox.base import Emulator
from calotype.sandbox.bfl import Bfl
from calotype.sandbox.fal import Fal
from calotype.sandbox.google import Google
from calotype.sandbox.kie import Kie
from calotype.sandbox.mistral import Mistral
from calotype.sandbox.openai import OpenAI
from calotype.sandbox.openrouter import OpenRouter
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

MOST_BYTES = 256 << 10
"""What this server takes as a body."""
MOST_FILE_BYTES = 1 << 20
SORA = {
    "sora2-text-to-video": "sora-2-text-to-video", "sora2-video": "sora-2-image-to-video",
    "sora2-character": "sora-2-characters",
}  # fmt: skip
"""Models that this operator has although they are gone elsewhere."""
ROUTE = """
[[cards.routes]]
provider = "cloud"
kind = "openai"
upstream = "upstream-model"
cost_source = "a test"
cost = {{ unit = "request", micro = 1000 }}
"""
CARD = (
    """
[[cards]]
id = "test/{name}"
title = "{name}"
operation = "{operation}"
output = "{output}"
[cards.input]
required = ["{required}"]
[cards.input.properties]
{required} = {field}
{more}
[cards.example]
{required} = {example}
"""
    + ROUTE
)
CARDS = "".join(
    CARD.format(name=name, operation=operation, output=output, required=required, field=field, more=more,
                example=example)
    for name, operation, output, required, field, more, example in (
        ("picture", "text-to-image", "image", "prompt", '{ "$ref" = "_shared.toml#/prompt" }',
         'n = { "$ref" = "_shared.toml#/n" }\nseed = { "$ref" = "_shared.toml#/seed" }', '"a lighthouse"'),
        ("edit", "image-to-image", "image", "image",
         '{ type = "array", minItems = 1, items = { type = "string", minLength = 1 }, x-media = "image" }',
         'prompt = { "$ref" = "_shared.toml#/prompt" }', '["https://example.com/a.png"]'),
        ("chat", "chat", "text", "messages", '{ "$ref" = "_chat.toml#/messages" }',
         'max_tokens = { "$ref" = "_chat.toml#/max_tokens" }\ntemperature = { "$ref" = "_chat.toml#/temperature" }',
         '[{ role = "user", content = "hi" }]'),
        ("vectors", "embeddings", "data", "input",
         '{ type = ["string", "array"], minLength = 1, minItems = 1, items = { type = "string", minLength = 1 } }',
         'dimensions = { type = "integer", minimum = 1, maximum = 4096 }', '"hi"'),
        ("ear", "transcription", "text", "audio_url", '{ "$ref" = "_shared.toml#/audio_url" }', "",
         '"https://example.com/a.mp3"'),
    )
)  # fmt: skip


@dataclass
class Surface:
    """The server, its emulators, and an organisation that ought never to be charged."""

    house: House
    account: Account
    emulators: list[Emulator]

    @cached_property
    def key(self) -> str:
        """A key with both scopes, whose rate is no matter here."""
        return self.account.key(scopes=(Scope.API, Scope.ADMIN), requests_per_minute=1_000_000)

    @cached_property
    def plain_id(self) -> str:
        """The id of another key of the organisation."""
        return self.account.keyed()[0]

    @cached_property
    def http(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.house.url, timeout=60)

    def send(self, method: str, path: str, *, headers: dict[str, str] | None = None, **given: Any) -> httpx2.Response:
        """Send a request with the key; content has a rate for each key, and gets a fresh one each time."""
        key = self.account.key() if path.startswith("/v1/content/") else self.key
        auth = {"authorization": f"Bearer {key}"}
        return self.http.request(method, path, headers=auth | (headers or {}), **given)

    @property
    def traces(self) -> tuple[Any, ...]:
        """What came of requests so far: jobs, money, files, keys, and what upstreams were asked."""
        account = self.account
        ((uploads, keys),) = self.house.rows(
            "SELECT (SELECT COUNT(*) FROM upload WHERE org_id = :org),"
            " (SELECT COUNT(*) FROM api_key WHERE org_id = :org AND name <> 'test')",
            org=account.org.id,
        )
        sent = {one.name: len(one.submits) for one in self.emulators}
        return account.jobs, account.held_micro, account.spent_micro, uploads, keys, sent


@contextlib.contextmanager
def surface(folder: Path) -> Iterator[Surface]:
    """Serve from a fresh folder."""
    (folder / "cards").mkdir()
    (folder / "cards" / "test.toml").write_text(CARDS)
    with contextlib.ExitStack() as stack:
        made: dict[str, Emulator] = {
            "kie": Kie(), "google": Google(), "openrouter": OpenRouter(), "fal": Fal(), "bfl": Bfl(),
            "mistral": Mistral(), "cloud": OpenAI(),
        }  # fmt: skip
        for one in made.values():
            stack.enter_context(on_a_thread(one))
        below = {"openrouter": "/api/v1", "fal": "/queue", "mistral": "/v1", "cloud": "/v1"}
        providers: dict[str, Any] = {
            name: {"base_url": one.url + below.get(name, ""), "api_key": "key-5f0c2ad1"} for name, one in made.items()
        }
        providers["cloud"]["kind"] = "openai"
        providers["kie"]["models"] = SORA
        limits = {"max_body_bytes": MOST_BYTES}
        media = {"max_upload_bytes": MOST_FILE_BYTES}
        house = stack.enter_context(
            running(folder / "data", providers=providers, cards_dir=folder / "cards", limits=limits, media=media)
        )
        yield Surface(house, house.account(), list(made.values()))
