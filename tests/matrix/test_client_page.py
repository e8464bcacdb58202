"""docs/dialects.md says of clients what the tests show, and nothing else."""

import ast
import re

import pytest
from client_page import LOCK, NO, PAGE, ROOT, YES, bare, heading, held, means, part, parts, proofs, written
from client_proofs import DIALECTS, FAL, OPENAI

TEXT = PAGE.read_text()
ALL_HOLD = dict.fromkeys(proofs(), True)


def test_the_page_is_what_make_matrix_writes_when_all_proofs_hold() -> None:
    for name, text in parts(ALL_HOLD).items():
        assert part(TEXT, name) == text, f"{name}: run make matrix"
    assert written(TEXT, ALL_HOLD) == TEXT


@pytest.mark.parametrize("name", sorted(set(map(bare, proofs()))))
def test_a_proof_is_a_test_that_drives_a_client(name: str) -> None:
    path, _, test = name.partition("::")
    tree = ast.parse((ROOT / "tests" / path).read_text())
    (found,) = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == test
    ]
    marks = [
        node.value for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    ]  # fmt: skip
    assert "pytest.mark.client" in " ".join(map(ast.unparse, [*marks, *found.decorator_list]))


def test_a_cell_holds_when_everything_that_it_means_passed() -> None:
    proof = next(one for one in sorted(proofs()) if one.endswith("[1.10.1-"))
    ran = {proof + "proxyUrl]": "passed", proof + "middleware]": "passed"}
    assert held(ran)[proof]
    assert not held({**ran, proof + "middleware]": "failed"})[proof]
    assert proof not in held({**ran, proof + "middleware]": "skipped"})
    assert held({}) == {}
    plain = next(one for one in sorted(proofs()) if "[" not in one)
    assert means(plain, plain) and means(plain, plain + "[x]") and not means(plain, plain + "_too")


def test_what_does_not_hold_is_shown_and_what_was_not_tried_is_not_claimed() -> None:
    before = parts(ALL_HOLD)["clients"]
    proof = OPENAI.features["files"][OPENAI.clients[0]]
    assert parts({**ALL_HOLD, proof: False})["clients"].count(NO) == 1
    without = {name: True for name in ALL_HOLD if name != proof}
    assert parts(without)["clients"].count(YES) == before.count(YES) - 1


def test_versions_are_those_that_are_installed_for_the_tests() -> None:
    heads = [heading(client) for client in FAL.clients]
    current = re.search(r"^fal-client==(\S+)", LOCK, re.MULTILINE)
    assert current is not None
    assert heads[0] == f"`fal-client` {current[1]}" and "`fal-client` 0.7.0" in heads and heads[-1] == "curl"
    for dialect in DIALECTS:
        assert all(cells.keys() <= set(dialect.clients) for cells in dialect.features.values())


def test_links_lead_somewhere() -> None:
    for path in re.findall(r"\]\(([^)#:]+)[^)]*\)", TEXT):
        assert (ROOT / "docs" / path).exists(), path
