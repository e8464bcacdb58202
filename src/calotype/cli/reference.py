"""Writes `docs/cli.md` and `docs/configuration.md` from the commands and the settings themselves."""

import ast
import inspect
import itertools
import types
import typing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from calotype.settings import USUAL_VARIABLES, ProviderSettings, Settings

CONFIGURATION_HEAD = """# Configuration

Every setting, with its type and default. A setting is taken from, in this order: a command's option, the environment,
the file `calotype.toml` in the working directory (`CALOTYPE_CONFIG` names another file), the default.

In the environment a name is written in capitals behind `CALOTYPE_`, nested names with two underscores
(`CALOTYPE_MEDIA__REHOST=off`), lists and tables as JSON. In the file it is TOML:

```toml
public_url = "https://media.example.org"

[media]
rehost = "always"

[providers.openai]
api_key = "…"
```

An unknown name inside a section, or a value out of its bounds, stops the start with a sentence that names it.
"""
CLI_HEAD = """# Command line

`calotype` is also `python -m calotype`. Every command takes `--data-dir` (also before the command's name, or
`CALOTYPE_DATA_DIR`), and those with an answer take `--json`: then standard output carries JSON and nothing else.
The exit status is 0 for success, 1 for a refusal or failure (one sentence on standard error), 2 for wrong usage.
`calotype --install-completion` sets up completion for bash, zsh, fish and PowerShell.
"""


class Page(StrEnum):
    """A page that can be written."""

    CLI = "cli"
    CONFIGURATION = "configuration"


def reference(
    context: typer.Context,
    page: Annotated[Page, typer.Argument(help="Which page.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File; by default standard output.")] = None,
) -> None:
    """Write a page of the reference."""
    text = configuration() if page is Page.CONFIGURATION else commands(context.find_root())
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")


def configuration() -> str:
    """Return `docs/configuration.md`."""
    parts = [CONFIGURATION_HEAD, "\n## Server\n\n", _rows(Settings, "CALOTYPE_", skip_sections=True)]
    for name, field in Settings.model_fields.items():
        section = _section(field.annotation)
        if section is not None:
            title = f"\n## {name.capitalize()}\n\n{_first(section)}\n\n"
            parts += [title, _rows(section, f"CALOTYPE_{name.upper()}__", skip_sections=False)]
    parts.append(f"\n## Providers\n\n{_first(ProviderSettings)} `<NAME>` is the name you give it.\n\n")
    parts.append(_rows(ProviderSettings, "CALOTYPE_PROVIDERS__<NAME>__", skip_sections=False))
    parts.append("\nThe variables that the providers' own programs read work too; ours win over them:\n\n")
    parts += [f"- `{name}` sets `providers.{one[0]}.{one[2]}`\n" for name, one in sorted(USUAL_VARIABLES.items())]
    return "".join(parts)


def commands(root: Any) -> str:
    """Return `docs/cli.md`."""
    parts = [CLI_HEAD]

    def walk(command: Any, path: str) -> None:
        if hasattr(command, "commands"):
            for name in sorted(command.commands):
                if not command.commands[name].hidden:
                    walk(command.commands[name], f"{path} {name}")
            return
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usage = "".join(f" {_metavar(one)}" for one in arguments)
        parts.append(f"\n## `{path}{usage}`\n\n{command.help}\n\n")
        for one in command.params:
            names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
            if one.param_type_name == "argument":
                names = f"`{_metavar(one)}`"
            parts.append(f"- {names}: {getattr(one, 'help', None) or ''}\n")

    walk(root.command, "calotype")
    return "".join(parts)


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _rows(model: type[BaseModel], prefix: str, *, skip_sections: bool) -> str:
    lines = ["| variable | type | default | |\n", "|---|---|---|---|\n"]
    about = _about(model)
    for name, field in model.model_fields.items():
        if (skip_sections and _section(field.annotation) is not None) or name == "providers":
            continue
        lines.append(f"| `{prefix}{name.upper()}` | {_type(field)} | {_default(field)} | {about.get(name, '')} |\n")
    return "".join(lines)


def _about(model: type[BaseModel]) -> dict[str, str]:
    """Return what the source says below each field."""
    (body,) = (one.body for one in ast.parse(inspect.getsource(model)).body if isinstance(one, ast.ClassDef))
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _section(kind: Any) -> type[BaseModel] | None:
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _first(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _type(field: FieldInfo) -> str:
    words = _words(field.annotation)
    bounds = [
        f"{sign} {getattr(one, name)}"
        for one in field.metadata
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(one, name, None) is not None
    ]
    return f"{words}, {', '.join(bounds)}" if bounds else words


def _words(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(one) for one in arguments if one is not type(None))
    if origin is list:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"table of {_words(arguments[1])} by name"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " or ".join(f"`{value}`" for value in kind)
    if _section(kind) is not None:
        return " and ".join(f"`{name}`" for name in kind.model_fields)
    known = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Path: "path"}
    return "secret text" if kind is SecretStr else known.get(kind, getattr(kind, "__name__", str(kind)))


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{_plain(value)}`" if value not in ([], {}) else "empty"


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
