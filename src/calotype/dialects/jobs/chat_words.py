"""A chat's answer in this dialect's words: flat, and under the name that people read (`wire/products.md B4`)."""

from typing import Any

from msgspec import Struct

from calotype.dialects.jobs.credits import Amount, CreditRate
from calotype.dialects.jobs.desk import Desk
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem


class JobsChatUsage(Struct):
    """Tokens of a chat."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class JobsChatAnswer(Struct, omit_defaults=True):
    """A chat's answer; `model` is the name that people read."""

    success: bool
    id: str
    model: str
    message: dict[str, Any]
    usage: JobsChatUsage
    credits_used: Amount
    finish_reason: str
    warnings: tuple[str, ...] = ()


def chat_answer(view: JobView, name: str, rate: CreditRate) -> JobsChatAnswer:
    """Return the flat answer."""
    choice = choice_of(view)
    message = {"role": "assistant", "content": None, **(choice.get("message") or {})}
    return JobsChatAnswer(
        True, view.id, name, message, usage_of(view), rate.used(view.job), reason_of(choice), view.warnings
    )


def usage_of(view: JobView) -> JobsChatUsage:
    """Return the tokens of a conversation."""
    used = view.job.result.usage if view.job.result is not None else {}
    asked = used.get("input_tokens", 0) + used.get("input_image_tokens", 0)
    made = used.get("output_tokens", 0)
    return JobsChatUsage(asked, made, asked + made)


def name_of(desk: Desk, view: JobView) -> str:
    """Return what people call the model that answered."""
    card = desk.catalog.get(view.job.model)
    return card.title if card is not None else view.job.model


def choice_of(view: JobView) -> dict[str, Any]:
    """Return the first choice of an answer.

    Raises:
        Problem: `gone` for one that was answered directly and is kept nowhere.

    """
    choices = (view.job.result.data if view.job.result is not None else {}).get("choices")
    if not isinstance(choices, list) or not choices:
        raise kept_once()
    first: dict[str, Any] = choices[0]
    return first


def reason_of(choice: dict[str, Any]) -> str:
    """Return why an answer ended."""
    said = choice.get("finish_reason")
    return said if isinstance(said, str) and said else "stop"


def kept_once() -> Problem:
    """Return the refusal of a result that was answered directly and is stored nowhere."""
    return Problem(Code.GONE, "This result was answered once and is not kept; send a new request.", retryable=False)
