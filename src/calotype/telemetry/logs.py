"""Structured logs on stderr: JSON for machines, colours for a terminal; secrets are blanked whatever their place."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_NAMES = re.compile(r"(?i)(api_?key|authorization|secret|token|password|credential|cookie)")
_SECRET_TEXT = re.compile(r"(?i)\b(ct_(?:live|test)_[a-z0-9]+_|sk-|bearer\s+|key\s+[0-9a-f-]{8,}:)[^\s\"',;]+")
_PAYLOAD_NAMES = frozenset({"prompt", "input", "body", "text", "messages"})


def configure_logs(level: str, style: str) -> None:
    """Set up logging for this process; `style` is auto, json or console."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
        structlog.processors.format_exc_info,
        redact,
        renderer,
    ]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank values that are secrets by name or by look, and drop payloads."""
    for name, value in list(event.items()):
        if name in _PAYLOAD_NAMES:
            event[name] = "[payload]"
        elif _SECRET_NAMES.search(name) and name != "token_count":
            event[name] = "[secret]"
        elif isinstance(value, str) and _SECRET_TEXT.search(value):
            event[name] = _SECRET_TEXT.sub(r"\1[secret]", value)
    return event
