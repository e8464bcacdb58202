"""Input schemas: compiled once, answering a wrong input with one sentence that names the field and what would do."""

import difflib
from typing import Any

import jsonschema_rs

from calotype.catalog.rules import parse_size
from calotype.kernel.errors import Code, Problem

SHOWN_CHARS = 40
"""A wrong value longer than this is never repeated in a message: it may be a prompt."""


class Size:
    """The schema keyword `x-size`: a text `WIDTHxHEIGHT` whose sides keep to bounds a pattern cannot say.

    `min` and `max` bound each side, `multiple` divides it, `max_ratio` bounds long to short, `max_pixels` the area,
    `long` and `short` the longer and shorter side, and `words` lists texts accepted as they are, such as `auto`.
    """

    KNOWN = frozenset({"min", "max", "multiple", "max_ratio", "max_pixels", "long", "short", "words"})

    def __init__(self, _parent: dict[str, Any], value: dict[str, Any], _path: list[str | int]) -> None:
        if unknown := sorted(set(value) - self.KNOWN):
            raise ValueError(f"x-size does not know {', '.join(unknown)}; it takes {', '.join(sorted(self.KNOWN))}")
        self.words: list[str] = value.get("words", [])
        self.min: int = value.get("min", 1)
        self.max: int = value.get("max", 16_384)
        self.multiple: int = value.get("multiple", 1)
        self.max_ratio: int | None = value.get("max_ratio")
        self.max_pixels: int | None = value.get("max_pixels")
        self.long: int | None = value.get("long")
        self.short: int | None = value.get("short")

    def validate(self, instance: Any) -> None:
        """Raise unless the text is a size inside the bounds."""
        if not isinstance(instance, str) or instance in self.words:
            return
        pair = parse_size(instance)
        if pair is None:
            raise ValueError(self.accepted())
        short, long = sorted(pair)
        if (
            short < self.min
            or long > self.max
            or short % self.multiple
            or long % self.multiple
            or (self.max_ratio is not None and long > short * self.max_ratio)
            or (self.max_pixels is not None and long * short > self.max_pixels)
            or (self.long is not None and long > self.long)
            or (self.short is not None and short > self.short)
        ):
            raise ValueError(self.accepted())

    def accepted(self) -> str:
        """Say in words what would be accepted."""
        rules = [f"each side from {self.min} to {self.max} pixels"]
        if self.multiple > 1:
            rules.append(f"divisible by {self.multiple}")
        if self.max_ratio is not None:
            rules.append(f"at most {self.max_ratio}:1")
        if self.max_pixels is not None:
            rules.append(f"at most {self.max_pixels:,} pixels in all")
        if self.long is not None and self.short is not None:
            rules.append(f"at most {self.long} by {self.short} either way round")
        words = f"{', '.join(self.words)} or " if self.words else ""
        return f"{words}WIDTHxHEIGHT, {', '.join(rules)}"


class InputSchema:
    """The JSON Schema of one model's input. Unknown fields are refused and top-level defaults filled in.

    Besides JSON Schema's own keywords it takes `x-size` (`Size`), `x-accepts`, a sentence about what a field accepts,
    `x-media` on a field whose text, or list of texts, stands for files (`image`, `audio`, `video`, `archive`,
    `document`), and `x-aliases`, what other dialects call the field (`renamed`).
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = {"additionalProperties": False, **document, "type": "object"}
        self.properties: dict[str, dict[str, Any]] = document.get("properties", {})
        self.fields = frozenset(self.properties)
        self.required = frozenset(document.get("required", ()))
        self.defaults = {name: rule["default"] for name, rule in self.properties.items() if "default" in rule}
        self._whole = tuple(name for name, rule in self.properties.items() if rule.get("type") == "integer")
        self.media = {name: str(rule["x-media"]) for name, rule in self.properties.items() if "x-media" in rule}
        self.aliases = {
            alias: name
            for name, rule in self.properties.items()
            for alias in rule.get("x-aliases", ())
            if alias not in self.fields
        }
        self._validator = jsonschema_rs.Draft202012Validator(self.document, keywords={"x-size": Size})

    def renamed(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return an input with the names this model has for its fields; a name it has itself wins over an alias.

        A value takes the form of the field it moves to: one of a list, a list of one, a number as the text that stands
        for it (`8` as `8s`).
        """
        if not any(name in self.aliases for name in fields):
            return fields
        moved = {name: value for name, value in fields.items() if name not in self.aliases}
        for alias, name in self.aliases.items():
            if alias in fields and name not in moved:
                moved[name] = _in_form(fields[alias], self.properties[name])
        return moved

    def check(self, fields: dict[str, Any], model: str) -> dict[str, Any]:
        """Return the input with defaults. A field that is null counts as left out; 5.0 is the whole number 5.

        Raises:
            Problem: `invalid_input`, naming the first field that does not fit.

        """
        filled = {**self.defaults, **fields}
        if None in filled.values():
            kept = {name: value for name, value in fields.items() if value is not None or name not in self.fields}
            filled = {**self.defaults, **kept}
        try:
            valid = self._validator.is_valid(filled)
        except ValueError as error:
            raise Problem(Code.INVALID_INPUT, "the input must be a JSON object of plain values.") from error
        if not valid:
            raise self._problem(filled, model)
        for name in self._whole:
            if type(filled.get(name)) is float:
                filled[name] = int(filled[name])
        return filled

    def _problem(self, filled: dict[str, Any], model: str) -> Problem:
        for name in filled:
            if name not in self.fields:
                return _unknown_field(name, self.fields, model)
        error = self._first_error(filled)
        if error is None:  # deeper than the validator goes
            deep = next((name for name, value in filled.items() if isinstance(value, list | dict)), None)
            return _refusal(deep or "", "depth", f"{deep or 'the input'} is nested too deeply", {})
        path = _path(list(error.instance_path))
        rule = self._rule_at(list(error.schema_path))
        if error.kind.name == "pattern" and "x-size" in rule:  # which says the same in words
            said = jsonschema_rs.Draft202012Validator(rule, keywords={"x-size": Size}).iter_errors(error.instance)
            error = next((one for one in said if one.kind.name == "x-size"), error)
        kind, facts = error.kind.name, error.kind.as_dict()
        if kind == "required":
            path = f"{path}.{facts['property']}" if path else str(facts["property"])
            return _refusal(path, "required", f"{path} is required", {})
        if kind == "additionalProperties":
            name = _short_name(str(facts["unexpected"][0]))
            path = f"{path}.{name}" if path else name
            return _refusal(path, kind, f"{path} is not a known field", {})
        accepted = rule.get("x-accepts") or _accepted(kind, facts, rule)
        return _refusal(path, kind, f"{path or 'the input'} must be {accepted}{_shown(error.instance, kind)}", facts)

    def _first_error(self, filled: dict[str, Any]) -> jsonschema_rs.ValidationError | None:
        """Return the first of the errors: to make all of them takes a second for some ten thousand."""
        try:
            self._validator.validate(filled)
        except jsonschema_rs.ValidationError as error:
            return error
        except ValueError:
            return None
        raise AssertionError("an input that is valid has no problem")

    def _rule_at(self, schema_path: list[str | int]) -> dict[str, Any]:
        """Return the subschema that holds the failed keyword."""
        here: Any = self.document
        for part in schema_path[:-1]:
            here = here[part]
        return here if isinstance(here, dict) else {}


def _in_form(value: Any, rule: dict[str, Any]) -> Any:
    if rule.get("type") == "array":
        return value if isinstance(value, list) else [value]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if rule.get("type") == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        text, choices = f"{value:g}", rule.get("enum", ())
        return f"{text}s" if f"{text}s" in choices else text
    return value


def _refusal(field: str, rule: str, sentence: str, facts: dict[str, Any]) -> Problem:
    data: dict[str, Any] = {"rule": rule}
    if "limit" in facts and isinstance(facts["limit"], int | float):
        data["limit"] = facts["limit"]
    return Problem(Code.INVALID_INPUT, f"{sentence}.", field=field or None, data=data)


def _unknown_field(name: str, known: frozenset[str], model: str) -> Problem:
    shown = _short_name(name)
    near = difflib.get_close_matches(shown, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    sentence = f"{shown} is not a field of {model}; it takes {', '.join(sorted(known)) or 'no fields'}.{hint}"
    return Problem(Code.INVALID_INPUT, sentence, field=shown, data={"rule": "additionalProperties"})


def _short_name(name: str) -> str:
    return name if len(name) <= SHOWN_CHARS else name[:SHOWN_CHARS] + "…"


def _path(parts: list[str | int]) -> str:
    out = ""
    for part in parts:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def _shown(value: Any, kind: str) -> str:
    """Repeat a wrong value only when it is a number or a short choice, never free text."""
    if isinstance(value, bool | int | float):
        return f", not {str(value).lower()}" if len(str(value)) <= SHOWN_CHARS else ""
    if kind in ("enum", "x-size") and isinstance(value, str) and len(value) <= SHOWN_CHARS:
        return f", not {value!r}"
    return ""


def _accepted(kind: str, facts: dict[str, Any], rule: dict[str, Any]) -> str:
    """Put a failed rule into words that follow `must be`."""
    limit = facts.get("limit")
    match kind:
        case "minimum" | "maximum":
            low, high = rule.get("minimum"), rule.get("maximum")
            if low is not None and high is not None:
                return f"from {low} to {high}"
            return f"at least {low}" if low is not None else f"at most {high}"
        case "exclusiveMinimum":
            return f"more than {limit}"
        case "exclusiveMaximum":
            return f"less than {limit}"
        case "multipleOf":
            return f"a multiple of {rule.get('multipleOf')}"
        case "enum":
            return "one of " + ", ".join(_word(option) for option in rule.get("enum", []))
        case "const":
            return _word(rule.get("const"))
        case "type":
            return " or ".join(_TYPE_WORDS.get(name, name) for name in facts.get("types", []))
        case "minLength" | "maxLength":
            return f"a text of {_span(rule, 'minLength', 'maxLength')} characters"
        case "minItems" | "maxItems":
            return f"a list of {_span(rule, 'minItems', 'maxItems')} items"
        case "uniqueItems":
            return "a list without repeats"
        case "pattern":
            return f"a text of the form {rule.get('pattern')}"
        case "format":
            return f"a {rule.get('format')}"
        case "x-size":
            return str(facts.get("message", "a size"))
        case _:
            return "of a form that its schema describes"


_TYPE_WORDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _span(rule: dict[str, Any], low: str, high: str) -> str:
    least, most = rule.get(low), rule.get(high)
    if least is not None and most is not None:
        return f"{least} to {most}"
    return f"at least {least}" if least is not None else f"at most {most}"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
