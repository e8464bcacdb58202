"""`POST /ocr`: a document as Markdown, page by page, in the words of Mistral's API (`wire/products.md A1`)."""

import re
from functools import partial
from typing import Any

import msgspec

from calotype.dialects.door import Exchange
from calotype.dialects.openai.answers import job_headers, kept_once
from calotype.dialects.openai.desk import Desk
from calotype.dialects.openai.forms import json_body
from calotype.dialects.openai.options import Options, split
from calotype.dialects.openai.runs import answer_job
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation

FIELDS = frozenset(
    {
        "document", "pages", "table_format", "include_image_base64", "image_limit", "image_min_size", "id",
        "extract_header", "extract_footer", "include_blocks", "confidence_scores_granularity",
        "bbox_annotation_format", "document_annotation_format", "document_annotation_prompt",
    }
)  # fmt: skip
"""Fields with a meaning in Mistral's API; the model's card decides which of them it takes."""
MAX_PAGES = 1000
_RANGE = re.compile(r"\d{1,4}(?:-\d{1,4})?(?:,\d{1,4}(?:-\d{1,4})?)*")
_FORMS = 'document must be an address, a data URI, a file id, or {"type": "document_url", "document_url": …}'
_encode = msgspec.json.Encoder().encode


class OcrRequest(Options, kw_only=True):
    """The body of a request to read a document: `pages` counts from 0, as numbers or as a text such as `0-2,5`."""

    document: dict[str, Any] | str
    pages: list[int] | str | None = None
    table_format: str | None = None


async def read_document(desk: Desk, x: Exchange) -> None:
    """Read a document."""
    caller = await desk.door.enter(x)
    raw, body = await json_body(desk, x)
    options, fields = split(body, Options, FIELDS)
    if "document" in fields:
        fields["document"] = address_of(fields["document"])
    if isinstance(pages := fields.get("pages"), str):
        fields["pages"] = numbers_of(pages)
    ask = desk.ask(x, caller, raw, options, Operation.OCR, fields, FIELDS, wants={"inline": True})
    await answer_job(desk, x, ask, partial(_tell, x))


def address_of(document: Any) -> str:
    """Return where a document is: an address, a data URI or the id of a file.

    Raises:
        Problem: `invalid_input` for anything else.

    """
    if isinstance(document, dict):
        for name in ("document_url", "image_url", "file_id"):
            found = document.get(name)
            found = found.get("url") if isinstance(found, dict) else found
            if isinstance(found, str) and found:
                return found
    elif isinstance(document, str) and document:
        return document
    raise Problem(Code.INVALID_INPUT, f"{_FORMS}.", field="document")


def numbers_of(pages: str) -> list[int]:
    """Return the pages that a text such as `0-2,5` names, each once.

    Raises:
        Problem: `invalid_input` for another text, or for too many pages.

    """
    text = pages.replace(" ", "")
    if _RANGE.fullmatch(text) is None:
        sentence = "pages is a list of numbers, the first page being 0, or a text such as 0-2,5."
        raise Problem(Code.INVALID_INPUT, sentence, field="pages")
    found: dict[int, None] = {}
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(dict.fromkeys(range(int(first), int(last or first) + 1)))
    if not 0 < len(found) <= MAX_PAGES:
        raise Problem(Code.INVALID_INPUT, f"pages names 1 to {MAX_PAGES} pages.", field="pages")
    return list(found)


async def _tell(x: Exchange, view: JobView) -> bool:
    return await x.answer(200, job_headers(view), encode(view))


def encode(view: JobView) -> bytes:
    """Encode a job that read a document; `raw` is what the provider itself answered."""
    result = view.job.result
    pages = result.data.get("pages") if result is not None else None
    if result is None or not isinstance(pages, list):
        raise kept_once()
    body: dict[str, Any] = {
        "pages": pages,
        "page_count": result.data.get("page_count", len(pages)),
        "model": view.job.model,
        "usage_info": {"pages_processed": result.usage.get("pages", len(pages)), "doc_size_bytes": None},
        "raw": result.data.get("raw"),
    }
    if view.warnings:
        body["warnings"] = view.warnings
    return _encode(body)
