"""The catalogue as pages: plain HTML that loads nothing from anywhere else."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

HTML = (b"content-type", b"text/html; charset=utf-8")
_FACTS = (
    ("price", "Price"), ("status", "Status"), ("category", "Category"), ("rateLimit", "Rate limit"), ("cache", "Cache"),
    ("mimeType", "Type"),
)  # fmt: skip


def index(listed: dict[str, Any]) -> bytes:
    """Return the page of all entries."""
    rows = "".join(
        f'<tr><td><a href="/catalog/{escape(one["slug"])}">{escape(one["title"])}</a><br>'
        f'<span class="quiet">{escape(one["description"])}</span></td><td>{escape(one["price"])}</td>'
        f"<td>{_badge(one['status'])}</td><td><code>{escape(one['method'])} {escape(one['route'])}</code></td></tr>"
        for one in listed["entries"]
    )
    head = "<tr><th>What</th><th>Price</th><th>Status</th><th>Route</th></tr>"
    body = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
    return _page("Catalogue", f'{body}<p><a href="/catalog.json">The same as JSON</a></p>')


def entry_page(one: dict[str, Any]) -> bytes:
    """Return the page of one entry: all that a buyer's program needs."""
    facts = "".join(f"<dt>{label}</dt><dd>{escape(str(one[name]))}</dd>" for name, label in _FACTS)
    tags = " ".join(f'<span class="badge">{escape(tag)}</span>' for tag in one["tags"])
    parts = [
        f"<p>{escape(one['description'])}</p><dl>{facts}<dt>Tags</dt><dd>{tags}</dd></dl>",
        f"<h2>Route</h2><pre>{escape(one['method'])} {escape(one['apiUrl'])}</pre>",
        f'<p><a href="{escape(one["docsUrl"])}">How to call it</a></p>',
        *_sections(
            (
                ("Example request", one["exampleRequest"]), ("Example response", one["exampleResponse"]),
                ("Input", one["inputSchema"]), ("Output", one["outputSchema"]),
            )
        ),
        f'<p><a href="/catalog">Catalogue</a> · <a href="/catalog/{escape(one["slug"])}.json">As JSON</a></p>',
    ]  # fmt: skip
    return _page(one["title"], "".join(parts))


def missing() -> bytes:
    """Return the page of an entry that does not exist."""
    return _page("Not found", '<p>There is no such entry. <a href="/catalog">The catalogue</a> has what there is.</p>')


def _sections(named: Sequence[tuple[str, Any]]) -> list[str]:
    return [
        f"<h2>{title}</h2><pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
        for title, value in named
    ]


def _badge(status: str) -> str:
    return f'<span class="badge {escape(status.lower())}">{escape(status)}</span>'


def _page(title: str, body: str) -> bytes:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{escape(title)} · Calotype</title><style>{_STYLE}</style></head>
<body><main><h1>{escape(title)}</h1>{body}</main></body></html>
""".encode()


_STYLE = """
:root{--paper:#fbfaf7;--ink:#23211d;--soft:#6d675d;--line:#e2ddd3;--tint:#f2efe8;--lead:#8a4b2a}
@media (prefers-color-scheme:dark){:root{--paper:#171614;--ink:#e9e5dc;--soft:#a09a8e;--line:#35322d;--tint:#211f1c;
--lead:#d99b73}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 5rem}a{color:var(--lead)}
h1{font:600 2.2rem/1.2 Georgia,"Times New Roman",serif}h2{font:600 1.25rem/1.3 Georgia,"Times New Roman",serif}
code,pre{font:.875em/1.55 ui-monospace,"SF Mono",Menlo,Consolas,monospace}
pre{background:var(--tint);border:1px solid var(--line);border-radius:8px;padding:.9rem 1rem;overflow-x:auto}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.5rem .8rem .5rem 0;
border-bottom:1px solid var(--line)}th,.quiet,dt{color:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.25rem}dd{margin:0}
.badge{font-size:.8rem;border:1px solid var(--line);border-radius:99px;padding:.05rem .5rem}
"""
