"""One server for every page of transcripts; each page has an organisation of its own."""

from collections.abc import Iterator

import pytest
from transcript_house import serving

from running import House


@pytest.fixture(scope="session")
def transcript_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, dict[str, str]]]:
    """Return the running server, and the variables of every page."""
    with serving(tmp_path_factory.mktemp("transcripts")) as one:
        yield one
