"""What fal says of a file beside its address and sides comes back to a caller of fal's API (`wire/products.md E11`)."""

from typing import Any

import msgspec

from calotype.kernel.outcome import Succeeded
from calotype.kernel.steps import HttpResponse
from calotype.providers.fal_answers import delivered

FACTS = {"bitrate": "256k", "codec": "pcm_s16le", "container": "wav", "channels": 1, "sample_rate": 44_100}
SOUND = {
    "url": "https://v3.fal.media/files/a/b.wav", "content_type": "audio/wav", "file_name": "b.wav", "file_size": 9,
    "duration": 1.5, **FACTS,
}  # fmt: skip


def data_of(body: dict[str, Any]) -> dict[str, Any]:
    outcome = delivered(HttpResponse(200, {}, msgspec.json.encode(body)), None)
    assert isinstance(outcome, Succeeded)
    return outcome.data


def test_facts_of_a_file_are_kept_by_its_place() -> None:
    data = data_of({"audio": SOUND, "seed": 7})
    assert data == {"seed": 7, "files": ["audio"], "file_facts": {"audio": FACTS}}


def test_what_is_known_otherwise_or_is_no_plain_fact_is_not_kept() -> None:
    odd = {"file_data": "AAAA", "extra": {"deep": 1}, "preview": "https://v3.fal.media/p.png", "note": "x" * 201}
    assert "file_facts" not in data_of({"images": [{**SOUND, **odd} | dict.fromkeys(FACTS)]})
