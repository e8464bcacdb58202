"""Language models in fal's words: a prompt goes in, an output comes out (`wire/fal.md §13`)."""

from typing import Any

import pytest

from calotype.catalog import Catalog
from calotype.dialects.fal.inputs import fit
from calotype.kernel.generation import Operation

CATALOG = Catalog.load()
NAMED = "openai/gpt-4o-mini"


def messages(given: dict[str, Any], model: str = NAMED) -> Any:
    fitted = fit(CATALOG.find(model), given)
    assert fitted.operation is Operation.CHAT
    return fitted.fields.get("messages")


def test_a_prompt_becomes_the_message_of_a_model_that_takes_conversations() -> None:
    assert messages({"prompt": "hello"}) == [{"role": "user", "content": "hello"}]
    guided = messages({"prompt": "hello", "system_prompt": "Be brief."})
    assert guided[0] == {"role": "system", "content": "Be brief."}


def test_pictures_go_with_the_words() -> None:
    (message,) = messages({"prompt": "what?", "image_urls": ["https://a.example/1.png"]})
    assert message["content"] == [
        {"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "https://a.example/1.png"}},
    ]  # fmt: skip


@pytest.mark.parametrize("given", [{"messages": [{"role": "user", "content": "a"}], "prompt": "b"}, {"prompt": 7}, {}])
def test_what_is_no_prompt_is_left_for_the_card_to_judge(given: dict[str, Any]) -> None:
    assert messages(given) == given.get("messages")


def test_a_model_that_takes_prompts_gets_the_prompt() -> None:
    fitted = fit(CATALOG.find("fal-ai/any-llm"), {"prompt": "hello", "model": NAMED})
    assert fitted.fields == {"prompt": "hello", "model": NAMED}
