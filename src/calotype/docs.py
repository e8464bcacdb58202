"""`/docs`: the table of endpoints of `/openapi.json`, written for people; and every document that the server has."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import msgspec

from calotype.catalog import Card, Catalog
from calotype.dialects.endpoints import Endpoint
from calotype.llms import Site, curl, texts
from calotype.openapi import ANSWER_HEADERS, ENDPOINTS, ERRORS, HEADERS, WORDS, document

HTML = "text/html; charset=utf-8"


def documents(catalog: Catalog, *, version: str, url: str) -> dict[str, tuple[str, bytes]]:
    """Return the pages by path, each with its content type; `url` is where clients reach this server."""
    spec = document(catalog, version=version, url=url)
    return {
        "/openapi.json": ("application/json", msgspec.json.encode(spec)),
        "/docs": (HTML, page(catalog, spec, url).encode()),
        **texts(Site(catalog, ENDPOINTS, url)),
    }


def page(catalog: Catalog, spec: dict[str, Any], url: str) -> str:
    """Return the page: no script, no font and no style from anywhere else."""
    groups = list(dict.fromkeys(endpoint.group for endpoint in ENDPOINTS))
    links = "".join(f'<a href="#{_anchor(group)}">{escape(group)}</a>' for group in groups)
    sections = "".join(
        f'<section id="{_anchor(group)}"><h2>{escape(group)}</h2>'
        + "".join(_endpoint(one, spec, url) for one in ENDPOINTS if one.group == group)
        + "</section>"
        for group in groups
    )
    first = ENDPOINTS[0]
    cards = "".join(_model(card) for card in catalog.cards())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Calotype API</title><style>{_STYLE}</style></head>
<body><header><h1>Calotype <small>{escape(spec["info"]["version"])}</small></h1>
<p>{escape(spec["info"]["summary"])}</p>
<nav>{links}<a href="#model-list">What can run</a><a href="#headers">Headers</a><a href="#errors">Errors</a>
<a href="/openapi.json">openapi.json</a><a href="/llms.txt">llms.txt</a>
<a href="/llms-full.txt">llms-full.txt</a></nav></header><main>
<section id="start"><h2>Start</h2>
<p>OpenAI's own clients work unchanged: give them <code>{escape(url)}/v1</code> as base URL and a key of this server.
Everything below <code>/v1</code> is served below <code>/api/v1</code> as well.</p>
<pre>{escape(curl(first, url))}</pre></section>
{sections}
<section id="model-list"><h2>What can run</h2>{cards}</section>
<section id="headers"><h2>Headers</h2><h3>Of requests that make something</h3>
{
        _table(
            ("Header", "Values", "Meaning"),
            [(f"<code>{name}</code>", _kind(schema), escape(words)) for name, (words, schema) in HEADERS.items()],
        )
    }
<h3>Of answers</h3>
{_table(("Header", "Meaning"), [(f"<code>{name}</code>", escape(words)) for name, words in ANSWER_HEADERS.items()])}
</section><section id="errors"><h2>Errors</h2>
<p>Every refusal is <code>{escape('{"error": {"message", "type", "code", "param"}}')}</code>; nothing is charged for it.
With <code>x-should-retry: false</code> the same request will fail again.</p>
{_table(("Status", "Meaning"), [(f"<code>{status}</code>", escape(words)) for status, words in ERRORS.items()])}
</section></main></body></html>
"""


def _endpoint(one: Endpoint, spec: dict[str, Any], url: str) -> str:
    verb = one.method.lower()
    operation = spec["paths"][one.path][verb]
    parts = [
        f'<article id="{one.name}"><h3><b class="{verb}">{one.method}</b> <code>{escape(one.path)}</code></h3>'
        f"<p><strong>{escape(one.summary)}.</strong> {escape(one.words)}</p>"
    ]
    if one.parameters:
        rows = [(f"<code>{p.name}</code>", _kind(p.schema), escape(p.words)) for p in one.parameters]
        parts.append(_table(("Parameter", "Values", "Meaning"), rows))
    fields: dict[str, Any] = {}
    if one.body is not None:
        fields = spec["components"]["schemas"][one.body.__name__]["properties"]
    elif one.schema is not None or one.card is not None:
        fields = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    elif one.form is not None:
        fields = one.form["properties"]
    if fields:
        rows = [
            (f"<code>{escape(name)}</code>", _kind(rule), escape(rule.get("description") or WORDS.get(name, "")))
            for name, rule in fields.items()
        ]
        parts.append(_table(("Field", "Values", "Meaning"), rows))
    example = f"<pre>{escape(curl(one, url))}</pre>"
    if one.answer_example is not None:
        example += f"<pre>{escape(json.dumps(one.answer_example, indent=2, ensure_ascii=False))}</pre>"
    refusals = ", ".join(status for status in operation["responses"] if int(status) >= 400)
    if refusals:
        example += f'<p class="quiet">May refuse with {refusals}.</p>'
    parts.append(f"<details><summary>Example</summary>{example}</details></article>")
    return "".join(parts)


def _model(card: Card) -> str:
    rules = card.schema.properties
    rows = [
        (f"<code>{escape(name)}</code>" + (" *" if name in card.schema.required else ""), _kind(rule),
         escape(rule.get("description", "")))
        for name, rule in rules.items()
    ]  # fmt: skip
    state = "" if card.status == "active" else f' <span class="badge">{escape(card.status)}</span>'
    label = f'<p class="quiet">{escape(card.label)}</p>' if card.label else ""
    return (
        f"<details><summary><code>{escape(card.id)}</code>{state} {escape(', '.join(card.operations))}</summary>"
        f"<p>{escape(card.description)}</p>{label}{_table(('Field', 'Values', 'Meaning'), rows)}</details>"
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _kind(rule: dict[str, Any]) -> str:
    """Say in a few words what a schema takes."""
    if "anyOf" in rule:
        found = [one for one in rule["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(_kind(one) for one in found if len(one.get("enum", ())) <= _MOST_CHOICES))
    if "enum" in rule:
        return ", ".join(f"<code>{escape(str(one))}</code>" for one in rule["enum"])
    kind = str(rule.get("type", "any"))
    low, high = rule.get("minimum"), rule.get("maximum")
    if low is not None and high is not None:
        kind += f" {low} to {high}"
    if "default" in rule and rule["default"] not in (None, ""):
        kind += f", default <code>{escape(str(rule['default']))}</code>"
    return kind


def _anchor(group: str) -> str:
    return group.lower().replace(" ", "-")


_MOST_CHOICES = 8
_STYLE = """
:root{--paper:#fbfaf7;--ink:#23211d;--soft:#6d675d;--line:#e2ddd3;--tint:#f2efe8;--lead:#8a4b2a;--get:#2f6f4f;
--post:#2a5b8a;--delete:#9b3434}
@media (prefers-color-scheme:dark){:root{--paper:#171614;--ink:#e9e5dc;--soft:#a09a8e;--line:#35322d;--tint:#211f1c;
--lead:#d99b73;--get:#7fc4a0;--post:#86b7e6;--delete:#e79090}}
*{box-sizing:border-box}html{scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",sans-serif}
header,main{max-width:60rem;margin:0 auto;padding:0 1.25rem}header{padding-top:3rem}
h1{font:600 2.2rem/1.2 Georgia,"Times New Roman",serif;margin:0}h1 small{font-size:.95rem;color:var(--soft)}
h2{font:600 1.5rem/1.3 Georgia,"Times New Roman",serif;margin:3rem 0 1rem;padding-top:1rem;
border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.75rem 0 .25rem}a{color:var(--lead)}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;padding:.5rem 0}nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
code,pre{font:.875em/1.55 ui-monospace,"SF Mono",Menlo,Consolas,monospace}
pre{background:var(--tint);border:1px solid var(--line);border-radius:8px;padding:.9rem 1rem;overflow-x:auto}
h3 b{display:inline-block;min-width:4.2rem;font-size:.75rem;letter-spacing:.06em}
.get{color:var(--get)}.post{color:var(--post)}.delete{color:var(--delete)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft)}td:nth-child(2){max-width:18rem}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--soft)}summary code{color:var(--ink)}
.quiet{color:var(--soft);font-size:.92rem}p{margin:.25rem 0 .5rem}
.badge{font-size:.75rem;border:1px solid var(--line);border-radius:99px;padding:.05rem .5rem}
main{padding-bottom:5rem}
"""
