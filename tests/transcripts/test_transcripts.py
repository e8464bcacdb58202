"""Every example of the published descriptions, with the real curl against the running server."""

import shutil
from pathlib import Path

import pytest
from transcript_blocks import pages, read
from transcript_curl import Session
from transcript_house import keys

from running import House

pytestmark = [pytest.mark.client, pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_the_server_answers_as_the_page_says(
    page: Path, transcript_house: tuple[House, dict[str, str]], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    house, variables = transcript_house
    session = Session(house, tmp_path, variables | keys(house))
    for block in read(page):
        with subtests.test(msg=block.title):
            session.hold(block)
