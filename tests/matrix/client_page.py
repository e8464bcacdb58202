"""The generated parts of `docs/dialects.md`: the tables of clients, and what of OpenAI's API is not offered."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from client_proofs import DIALECTS, Client, Dialect

from calotype.dialects.openai.not_offered import NOT_OFFERED

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "dialects.md"
LOCK = (ROOT / "requirements" / "dev.lock").read_text()
YES, NO, UNTRIED = "✓", "✗", ""


def proofs() -> set[str]:
    """Return every proof that is named."""
    return {proof for dialect in DIALECTS for cells in dialect.features.values() for proof in cells.values()}


def bare(proof: str) -> str:
    """Return the test of a proof, without what chooses among its parameters."""
    return proof.partition("[")[0]


def means(proof: str, test: str) -> bool:
    """Tell whether a test that ran, with its parameters, is meant by a proof."""
    return test.startswith(proof) if "[" in proof else test.partition("[")[0] == proof


def held(outcomes: Mapping[str, str]) -> dict[str, bool]:
    """Return for every proof that ran whether all that it means passed; outcomes are those of pytest by test."""
    found = {}
    for proof in proofs():
        ended = [outcome for test, outcome in outcomes.items() if means(proof, test)]
        if ended and "skipped" not in ended:
            found[proof] = all(outcome == "passed" for outcome in ended)
    return found


def version_of(source: str) -> str:
    """Return the version that a lock names."""
    if source.startswith("="):
        return source[1:]
    kind, _, rest = source.partition(":")
    if kind == "pypi":
        found = re.search(rf"^{re.escape(rest)}==(\S+)", LOCK, re.MULTILINE)
        assert found is not None, source
        return found[1]
    folder, _, name = rest.partition(":")
    lock = json.loads((ROOT / "tests" / "clients" / folder / "package-lock.json").read_text())
    return str(lock["packages"][f"node_modules/{name}"]["version"])


def heading(client: Client) -> str:
    """Return the head of a client's column."""
    return client.label.format(*map(version_of, client.versions))


def table(dialect: Dialect, shown: Mapping[str, bool]) -> str:
    """Return the table of one API."""
    heads = [f"[{dialect.title}]({dialect.page})", *map(heading, dialect.clients)]
    rows = [heads, ["---", *[":-:"] * len(dialect.clients)]]
    for feature, cells in dialect.features.items():
        marks = [shown.get(cells[client]) if client in cells else None for client in dialect.clients]
        rows.append([feature, *({True: YES, False: NO, None: UNTRIED}[mark] for mark in marks)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def refused() -> str:
    """Return what of OpenAI's API is refused by name, in the words of the refusal."""
    return "\n".join(f"- `{path}`: {sentence}" for path, sentence in NOT_OFFERED.items())


def parts(shown: Mapping[str, bool]) -> dict[str, str]:
    """Return the generated parts by name."""
    return {"clients": "\n\n".join(table(dialect, shown) for dialect in DIALECTS), "openai": refused()}


def part(page: str, name: str) -> str:
    """Return what stands between the markers of a part."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, re.DOTALL)
    assert found is not None, f"docs/dialects.md has no part {name}"
    return found[1]


def written(page: str, shown: Mapping[str, bool]) -> str:
    """Return the page with its generated parts made anew."""
    for name, text in parts(shown).items():
        page = page.replace(f"<!-- {name} -->\n{part(page, name)}\n", f"<!-- {name} -->\n{text}\n")
    return page
