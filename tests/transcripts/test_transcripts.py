"""Every example of the published descriptions, with the real curl against the running server."""

import shutil
import subprocess
from pathlib import Path

import pytest
from transcript_blocks import pages, read
from transcript_curl import Session
from transcript_house import keys

from running import House


def missing() -> str | None:
    """Return what the commands need and this machine has not; `--json` came with curl 7.82."""
    for tool in ("bash", "curl", "jq", "od", "base64"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    told = subprocess.run(["curl", "--help", "all"], capture_output=True, text=True, check=False).stdout
    return None if "--json" in told else "needs a curl that knows --json"


WHY = missing()
pytestmark = [pytest.mark.client, pytest.mark.skipif(WHY is not None, reason=WHY or "")]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_the_server_answers_as_the_page_says(
    page: Path, transcript_house: tuple[House, dict[str, str]], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    house, variables = transcript_house
    session = Session(house, tmp_path, variables | keys(house))
    for block in read(page):
        with subtests.test(msg=block.title):
            session.hold(block)
