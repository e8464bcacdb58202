"""Writes the skill: its instructions, its reference and its table, all from the services and their cards."""

import io
import json
import zipfile
from pathlib import Path

from calotype.card_text import field_lines, rates_of, unit_of, when_of
from calotype.catalog import Card, Catalog
from calotype.dialects.jobs.app import PREFIX
from calotype.dialects.jobs.credits import CreditRate
from calotype.dialects.jobs.services import LATE_MODELS, SERVICES, Service
from calotype.kernel.job import JobState
from calotype.llms import cards_of

NAME = "calotype"
"""The skill's name, and that of the one folder in the archive."""
SCRIPT = "calotype_job.py"
DESCRIPTION = (
    "Make pictures, films, speech, music and subtitles, and cut, join or download media, with a Calotype server. Use it"
    " when somebody asks for such media, or to look at credits and jobs there. Needs CALOTYPE_KEY."
)
_MOMENT = (2020, 1, 1, 0, 0, 0)
"""Of every file in the archive: the same services make the same archive."""


def files(catalog: Catalog, url: str) -> dict[str, str]:
    """Return the skill's files by their path in its folder; `url` is where clients reach the server."""
    offered = [one for one in SERVICES if cards_of(one, catalog)]
    return {
        "SKILL.md": _instructions(offered, catalog, url),
        "references/services.md": _reference(offered, catalog),
        f"scripts/{SCRIPT}": Path(__file__).with_name(SCRIPT).read_text(encoding="utf-8"),
        "scripts/services.json": json.dumps(_table(offered, url), indent=1, ensure_ascii=False) + "\n",
    }


def packed(catalog: Catalog, url: str) -> bytes:
    """Return the skill as a ZIP archive with one folder in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in sorted(files(catalog, url).items()):
            entry = zipfile.ZipInfo(f"{NAME}/{path}", _MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if path.endswith(".py") else 0o644) << 16
            archive.writestr(entry, text)
    return out.getvalue()


def name_of(service: Service) -> str:
    """Return what the skill calls a service: the part of its path that no other service has."""
    return service.create.removeprefix("/media/").strip("/").partition("/")[0]


def prices(card: Card, catalog: Catalog) -> list[str]:
    """Return what a card costs in credits; `free`, or nothing where nobody set a price."""
    rows = rates_of(card, catalog.pricing)
    if rows and not any(row.price_micro for row in rows):
        return ["free"]
    rate = _credits(catalog)
    return [f"{rate.of(row.price_micro):f} per {unit_of(row)}{when_of(row)}" for row in rows]


def price_range(service: Service, catalog: Catalog) -> str:
    """Return in short what a service costs, over everything that the price depends on."""
    found: dict[str, list[int]] = {}
    for card in cards_of(service, catalog):
        for row in rates_of(card, catalog.pricing):
            found.setdefault(unit_of(row), []).append(row.price_micro)
    if not found:
        return "no price yet: not usable"
    if not any(micro for prices in found.values() for micro in prices):
        return "free"
    rate = _credits(catalog)
    return "; ".join(
        " to ".join(f"{rate.of(micro):f}" for micro in sorted({min(prices), max(prices)})) + f" per {unit}"
        for unit, prices in found.items()
    )


def _credits(catalog: Catalog) -> CreditRate:
    return CreditRate(catalog.pricing.credit_micro, LATE_MODELS)


def _instructions(offered: list[Service], catalog: Catalog, url: str) -> str:
    lines = [
        "---", f"name: {NAME}", f"description: {DESCRIPTION}", "license: Apache-2.0", "---", "", "# Calotype", "",
        f"The server is {url}; the variable CALOTYPE_URL names another. The variable CALOTYPE_KEY holds its key: never"
        " write it into a file, a message or a command's arguments.", "", "## How to make something", "",
        "1. Choose a service below and read its fields and price in [services.md](references/services.md).",
        "2. Say what it costs before you start something that the user did not clearly ask for.",
        "3. Run it. The script uploads files, waits, saves the result and prints the last status:", "",
        "```sh",
        f'python scripts/{SCRIPT} text-to-image prompt="a fox in the snow" -o fox.png',
        f"python scripts/{SCRIPT} image-to-video image_url=@photo.png duration:=5 -o film.mp4",
        "```", "",
        "`name=text` is a text, `name=@file` a file of this machine, `name:=json` a number, list or other JSON.", "",
        "4. A refusal names the field and what would be accepted: correct that and run it again. A job that fails is"
        " refunded by itself; do not repeat it unchanged more than once.",
        "5. Tell the user of the `label` and the `warnings` of the answer where there are any.", "",
        "## Services", "", "| service | makes | credits |", "|---|---|---|",
    ]  # fmt: skip
    lines += [f"| `{name_of(one)}` | {one.words} | {price_range(one, catalog)} |" for one in offered]
    lines += [
        "", "A model that its operator has not set up is refused with 404 or 501, and costs nothing.", "",
        "## Account", "", "```sh",
        f'curl -s "${{CALOTYPE_URL:-{url}}}{PREFIX}/user/credits" -H "Authorization: Bearer $CALOTYPE_KEY"',
        f'curl -s "${{CALOTYPE_URL:-{url}}}{PREFIX}/user/credits/history?limit=20" -H'
        ' "Authorization: Bearer $CALOTYPE_KEY"',
        "```", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _reference(offered: list[Service], catalog: Catalog) -> str:
    lines = ["# Services", "", "Every call has the header `Authorization: Bearer $CALOTYPE_KEY`; bodies are JSON.", ""]
    for one in offered:
        cards = cards_of(one, catalog)
        lines += [
            f"## {name_of(one)}", "", f"{one.title}: {one.words}", "",
            f"- Create: `POST {PREFIX}{one.create}` answers `job_id`",
            f"- Status: `GET {PREFIX}{one.status}{{job_id}}`, one of {_words(one)}",
            f"- Results: {', '.join(f'`{name}`' for name in one.results)}",
        ]  # fmt: skip
        more = (("Cancel", "POST", one.cancel, "{job_id}"), ("History", "GET", one.history, ""),
                ("List", "GET", one.listed, ""))  # fmt: skip
        lines += [f"- {what}: `{verb} {PREFIX}{path}{end}`" for what, verb, path, end in more if path is not None]
        lines.append(
            f"- Debited when it is {'done' if one.settle == 'completion' else 'created'}; refunded if it fails"
        )
        for card in cards:
            title = f" with `{one.chosen_by}` {card.id}" if one.chosen_by else ""
            lines += [f"- Credits{title}: {'; '.join(prices(card, catalog)) or 'no price yet'}"]
            lines += [f"- What it is: {card.label}"] if card.label else []
        lines += ["", "Fields:", ""]
        if one.chosen_by is not None:
            choices = ", ".join(f"`{card.id}`" for card in cards)
            lines.append(f"- `{one.chosen_by}` ({choices}, default `{one.models[0]}`)")
        lines += [*dict.fromkeys(line for card in cards for line in field_lines(card, one.names)), ""]
    return "\n".join(lines)


def _words(one: Service) -> str:
    return ", ".join(f"`{word}`" for word in dict.fromkeys(one.family.value))


def _table(offered: list[Service], url: str) -> dict[str, object]:
    services = {
        name_of(one): {
            "create": f"{PREFIX}{one.create}", "status": f"{PREFIX}{one.status}",
            "ended": sorted(one.family.ended), "done": one.family.word(JobState.SUCCEEDED),
            "results": list(one.results),
        }
        for one in offered
    }  # fmt: skip
    return {"url": url, "services": services}
