"""A server with the models of its own machine alone; what content sells is drawn there too."""

from collections.abc import Iterator

import pytest

from running import House, running

CONTENT_MICRO = 5_000
PICTURE_MICRO = 1_000
CARDS = f"""
[[cards]]
id = "content-image-generate"
title = "Drawn image"
operation = "text-to-image"
output = "image"
price = {{ unit = "request", micro = {CONTENT_MICRO} }}

[cards.input]
required = ["prompt"]

[cards.input.properties]
prompt = {{ "$ref" = "_shared.toml#/prompt" }}
image_size = {{ type = "string" }}

[cards.example]
prompt = "a lighthouse"

[[cards.routes]]
provider = "local"
upstream = "sketch"
constants = {{ size = "1024x768" }}
cost_source = "this machine"
cost = {{ unit = "image", micro = 0 }}
"""


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return the running server."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "cards").mkdir()
    (folder / "cards" / "content.toml").write_text(CARDS)
    with running(folder / "data", cards_dir=folder / "cards", prices={"local/sketch": PICTURE_MICRO}) as one:
        yield one
