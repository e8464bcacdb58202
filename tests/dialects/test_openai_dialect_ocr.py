"""`POST /v1/ocr`: a document is read page by page, in Mistral's words, and charged by the page."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from calotype.dialects.openai.ocr import numbers_of
from calotype.kernel.errors import Problem
from calotype.sandbox.mistral import Mistral
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

PDF = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n").decode()
PAGE_MICRO = 2_200


@pytest.fixture(scope="module")
def mistral() -> Iterator[Mistral]:
    emulator = Mistral()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture(scope="module")
def ocr_house(mistral: Mistral, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = {"api_key": "mistral-key", "base_url": mistral.environment()["MISTRAL_API_BASE"]}
    settings["phi"] = {"reference": "DPA-7", "expires": "2999-01-01"}
    with running(tmp_path_factory.mktemp("house"), providers={"mistral": settings}, margin_bps=1000) as one:
        yield one


@pytest.fixture
def reader(ocr_house: House, mistral: Mistral) -> Account:
    mistral.reset()
    return ocr_house.account()


def read(account: Account, body: Any, **headers: str) -> httpx2.Response:
    given = {"Authorization": f"Bearer {account.key()}", **headers}
    return httpx2.post(f"{account.house.url}/v1/ocr", json=body, headers=given, timeout=60)


@pytest.mark.parametrize(
    "document", [{"type": "document_url", "document_url": PDF}, {"type": "image_url", "image_url": {"url": PDF}}, PDF]
)
def test_a_document_is_read_and_each_page_is_charged(reader: Account, document: Any) -> None:
    answer = read(reader, {"model": "mistral-ocr", "document": document, "pages": [0, 1]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [page["index"] for page in body["pages"]] == [0, 1]
    assert all(page["markdown"] for page in body["pages"])
    assert (body["page_count"], body["usage_info"]["pages_processed"], body["model"]) == (2, 2, "mistral-ocr")
    assert len(body["raw"]["pages"]) == 2
    assert (reader.spent_micro, reader.held_micro) == (2 * PAGE_MICRO, 0)


def test_pages_may_be_named_as_text_and_auto_finds_a_model(reader: Account) -> None:
    answer = read(reader, {"model": "auto", "document": PDF, "pages": "0-1"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["page_count"] == 2


def test_fields_that_no_model_takes_are_warnings(reader: Account) -> None:
    answer = read(reader, {"model": "mistral-ocr", "document": PDF, "pages": [0], "include_image_base64": True})
    assert answer.json()["warnings"] == ["include_image_base64 has no effect on mistral-ocr and was ignored"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"document": {"type": "document_url"}}, 400, "document"),
        ({"document": 7}, 400, "document"),
        ({"document": ""}, 400, "document"),
        ({}, 400, "document"),
        ({"document": PDF, "pages": "first"}, 400, "pages"),
        ({"document": PDF, "pages": "5-1"}, 400, "pages"),
        ({"document": PDF, "pages": [-1]}, 400, "pages[0]"),
        ({"document": PDF, "colour": "red"}, 400, "colour"),
        ({"document": "https://127.0.0.1/secret.pdf"}, 400, "document"),
        ({"document": PDF, "model": "local/sketch"}, 400, "model"),
        ({"document": PDF, "model": "no-such-reader"}, 404, "model"),
    ],
)
def test_bad_input_is_named_and_costs_nothing(reader: Account, body: dict[str, Any], status: int, param: str) -> None:
    answer = read(reader, {"model": "mistral-ocr", **body})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert (reader.spent_micro, reader.held_micro) == (0, 0)


def test_a_document_of_a_phi_request_is_read_and_lies_nowhere(reader: Account) -> None:
    answer = read(reader, {"model": "mistral-ocr", "document": PDF, "pages": [0]}, **{"X-PHI": "true"})
    assert answer.status_code == 200, answer.text
    (page,) = answer.json()["pages"]
    assert page["markdown"] and answer.headers["x-phi-tier"] == "phi"
    assert (reader.spent_micro, reader.held_micro) == (PAGE_MICRO, 0)
    (row,) = reader.house.rows("SELECT input, result FROM job WHERE org_id = :org", org=reader.org.id)
    assert row[0] is None and "markdown" not in row[1]


def test_a_document_of_a_phi_request_comes_inside_it(reader: Account) -> None:
    answer = read(reader, {"model": "mistral-ocr", "document": "https://example.com/report.pdf"}, **{"X-PHI": "true"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (403, "phi_blocked", "document")
    reader.untouched()


def test_a_refusal_upstream_is_not_charged(reader: Account, mistral: Mistral) -> None:
    orders = {"faults": [{"on": "any", "status": 422, "times": 9}]}
    httpx2.post(f"{mistral.url}/__control__", json=orders).raise_for_status()
    answer = read(reader, {"model": "mistral-ocr", "document": PDF, "pages": [0]})
    assert answer.status_code == 400
    assert (reader.spent_micro, reader.held_micro) == (0, 0)


@pytest.mark.parametrize(("text", "pages"), [("0", [0]), ("0-2,5", [0, 1, 2, 5]), (" 3, 3 ", [3]), ("2-2", [2])])
def test_pages_as_text_mean_each_page_once(text: str, pages: list[int]) -> None:
    assert numbers_of(text) == pages


@pytest.mark.parametrize("text", ["", "-", "a", "1-", "0-1000", "1,,2", "99999"])
def test_other_texts_are_no_pages(text: str) -> None:
    with pytest.raises(Problem):
        numbers_of(text)
