"""Requests made up from `/openapi.json` never break the server, and what it answers is what it documents."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from calotype.dialects.jobs.services import SERVICES, TOOLS
from calotype.openapi import ENDPOINTS
from house_fixtures import settings_for
from running import House, running
from upstream import Upstream

EXPECTED = frozenset({501, 502, 503, 504})
"""Statuses from 500 on that are an answer and not an accident."""


@pytest.fixture(scope="module")
def made_up(
    _upstream: Upstream, cards_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[House, str]]:
    """Return a server and a key for models that answer at once."""
    _upstream.reset()
    with running(tmp_path_factory.mktemp("made-up"), **settings_for(_upstream, cards_dir=cards_dir)) as house:
        yield house, house.account(micro=10**15).key(models=["test/*"])


SAMPLED = frozenset({"text-to-image", "text-to-speech", "veo31-video", "image-to-video"})
"""Services of the jobs dialect that stand for all of them: every one is a row of the same table."""
ALIKE = {service.create.split("/")[1] for service in SERVICES if service not in TOOLS} - SAMPLED
TOO_MANY = {f"/api/v1{service.create}" for service in TOOLS[1:]}


def _operations() -> Any:
    return [
        pytest.param(one.method, one.path, id=one.name)
        for one in ENDPOINTS
        if one.path not in TOO_MANY | {"/metrics"} and f"{one.path}///".split("/")[3] not in ALIKE
    ]


@pytest.mark.parametrize(("method", "path"), _operations())
def test_made_up_requests_are_answered_as_documented(method: str, path: str, made_up: tuple[House, str]) -> None:
    house, key = made_up
    schema = schemathesis.openapi.from_dict(requests.get(house.url + "/openapi.json", timeout=10).json())
    operation = schema[path][method]
    headers = {"Authorization": f"Bearer {key}"}
    session = requests.Session()

    def check(case: Any) -> None:
        response = case.call(base_url=house.url, headers=headers, session=session, allow_redirects=False)
        if response.status_code >= 500:
            assert response.status_code in EXPECTED, (response.status_code, response.text)
        else:
            case.validate_response(
                response,
                checks=[not_a_server_error, status_code_conformance, content_type_conformance],
                headers=headers,
            )

    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
        try:
            strategy = operation.as_strategy(generation_mode=mode)
            _drive(strategy.map(steered) if mode is schemathesis.GenerationMode.POSITIVE else strategy, check)
        except Unsatisfiable:  # a route that takes nothing has nothing to get wrong
            assert mode is schemathesis.GenerationMode.NEGATIVE
    assert httpx2.get(house.url + "/readyz").status_code == 200


def steered(case: Any) -> Any:
    """Turn a request that fits the document into one that a model here can mostly take, odd values and all."""
    if isinstance(case.body, dict) and case.method == "POST":
        case.headers = {name: value for name, value in (case.headers or {}).items() if name in ("X-PHI", "X-Region")}
        given = {name: case.body[name] for name in ("n", "seed", "response_format", "user") if name in case.body}
        case.body = {**given, "prompt": case.body.get("prompt") or "x", "model": "test/picture"}
    return case


def _drive(strategy: Any, check: Any) -> None:
    bounded = settings(
        max_examples=40, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    bounded(given(case=strategy)(check))()
