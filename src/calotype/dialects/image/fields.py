"""From this dialect's parameters to the fields of a model, and back in what is said about them."""

from typing import Any

from calotype.catalog import Card
from calotype.dialects.image.offers import PARAMETERS, TAKEN, WORDS, Verb, maker_of
from calotype.kernel.errors import Code, Problem

SIDE = 1024
"""The side that is meant where only the other one is named."""
NAMES = {"num_images": "n", "duration": "seconds"}
"""What parameters are called elsewhere in the house."""
BACK = {
    "size": "width", "n": "num_images", "seconds": "duration", "image": "image_url", "image_urls": "image_url",
    "start_image_url": "image_url",
}  # fmt: skip
"""The house's names of fields, and this dialect's."""


def taken(card: Card, verb: Verb) -> frozenset[str]:
    """Return the parameters that a model takes: by its maker, or of a model that is not in the table by its card."""
    maker = maker_of(card)
    if maker is not None and (verb, maker) in TAKEN:
        return TAKEN[verb, maker]
    return frozenset(name for name in PARAMETERS[verb] if _target(card, name) is not None)


def refused_parameters(card: Card, verb: Verb, given: dict[str, Any]) -> list[str]:
    """Return the parameters given that a model does not take."""
    takes = taken(card, verb)
    return [name for name in given if name in PARAMETERS[verb] and name not in takes]


def refusal(card: Card, verb: Verb, name: str) -> Problem:
    """Return the refusal of a parameter, which says what the model takes."""
    maker = maker_of(card)
    whose = f" ({WORDS[maker]})" if maker is not None else ""
    takes = sorted(taken(card, verb))
    sentence = f"{card.id}{whose} does not take {name}; it takes {', '.join(takes) or 'none of these parameters'}."
    return Problem(Code.INVALID_INPUT, f"{sentence} strict: false leaves it out.", field=name)


def fitted(card: Card, verb: Verb, given: dict[str, Any], *, strict: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a model's own fields, and warnings about what was dropped or changed.

    Raises:
        Problem: `invalid_input` naming the parameter that the model does not take.

    """
    warnings: list[str] = []
    unfit = refused_parameters(card, verb, given)
    if unfit and strict:
        raise refusal(card, verb, unfit[0])
    warnings += [f"{name} has no effect on {card.id} and was ignored" for name in unfit]
    kept = {name: value for name, value in given.items() if name not in unfit}
    sides = (kept.pop("width", None), kept.pop("height", None))
    fields: dict[str, Any] = {}
    if sides != (None, None):
        if strict and "aspect_ratio" in kept:
            sentence = "Give either width and height or aspect_ratio, not both."
            raise Problem(Code.INVALID_INPUT, sentence, field="aspect_ratio")
        if kept.pop("aspect_ratio", None) is not None:
            warnings.append("aspect_ratio was ignored, for width and height were given")
        target = _target(card, "width") or "size"
        fields[target], changed = _size(card, target, *sides)
        warnings += changed
    for name, value in kept.items():
        fields[_target(card, name) or NAMES.get(name, name)] = int(value) if name == "duration" else value
    return fields, tuple(warnings)


def said(problem: Problem) -> Problem:
    """Return a problem with this dialect's name of its field."""
    field, sentence = problem.field, problem.message
    head, dot, rest = (field or "").partition(".")
    ours = BACK.get(head.partition("[")[0])
    if ours is None:
        return problem
    if ours == "width":
        sentence = sentence.replace(f"{head} must be", "width and height must be", 1)
    elif sentence.startswith(f"{field} "):
        sentence = f"{ours}{sentence[len(field or '') :]}"
    return Problem(
        problem.code, sentence, field=f"{ours}{dot}{rest}" if dot and not rest.isdigit() else ours,
        retryable=problem.retryable, retry_after_s=problem.retry_after_s, data=problem.data,
    )  # fmt: skip


def _target(card: Card, name: str) -> str | None:
    """Return the model's own field for a parameter, or a name for it that the model knows; None where it has none."""
    wanted = "size" if name in ("width", "height") else NAMES.get(name, name)
    for known in (wanted, name):
        if known in card.fields or known in card.schema.aliases:
            return known
    return None


def _size(card: Card, target: str, width: int | None, height: int | None) -> tuple[str, list[str]]:
    """Write a size; sides that the model's grid does not have become the nearest ones that it has."""
    asked = (width or SIDE, height or SIDE)
    rule = card.schema.properties.get(card.schema.aliases.get(target, target), {})
    step = int(rule.get("x-size", {}).get("multiple", 1))
    found = tuple(max(step, (side + step // 2) // step * step) for side in asked)
    size = f"{found[0]}x{found[1]}"
    if found == asked:
        return size, []
    return size, [f"{asked[0]}x{asked[1]} became {size}: {card.id} makes sides divisible by {step}"]
