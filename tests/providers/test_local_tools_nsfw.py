"""The nudity score, with a tiny network in place of the pulled weights: what it is shown, and what it answers."""

from pathlib import Path

import pytest
import toolbox
from PIL import Image

from calotype.providers.local import nsfw
from calotype.providers.local.messages import BadInput


def field(number: int, value: bytes | str | int) -> bytes:
    """Return one field of a protobuf message."""
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    body = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(body)) + body


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def ints(name: str, *values: int) -> bytes:
    return field(5, field(1, name) + b"".join(b"\x40" + varint(value) for value in values) + b"\xa0\x01\x07")


def tensor(name: str, *sides: int) -> bytes:
    shape = b"".join(field(1, field(1, side)) for side in sides)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def network(path: Path) -> None:
    """Write a network that answers the mean blue and green of what it is shown."""
    keep = field(5, field(1, "keepdims") + b"\x18\x00" + b"\xa0\x01\x02")
    mean = field(1, "input") + field(2, "mean") + field(4, "ReduceMean") + ints("axes", 1, 2) + keep
    two = field(1, "mean") + field(2, "out") + field(4, "Slice")
    two += ints("axes", 1) + ints("starts", 0) + ints("ends", 2)
    graph = field(1, mean) + field(1, two) + field(2, "g")
    graph += field(11, tensor("input", 1, 224, 224, 3)) + field(12, tensor("out", 1, 2))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 9)))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    network(tmp_path / "open-nsfw.onnx")
    monkeypatch.setattr(nsfw, "folder_of", lambda models_dir, name: Path(models_dir))
    return str(tmp_path)


def data_of(image: Path, weights: str, threshold: float = 0.8) -> dict[str, object]:
    made = nsfw.render(image=str(image), models_dir=weights, threshold=threshold, progress=lambda share: None)
    assert made.file is None
    return made.data


def test_the_picture_is_shown_blue_first_less_the_usual_means(tmp_path: Path, weights: str) -> None:
    path = tmp_path / "green.png"
    Image.new("RGB", (300, 260), (0, 118, 0)).save(path)
    score = data_of(path, weights)["nsfw_score"]
    assert isinstance(score, float)
    assert score == pytest.approx(1.0, abs=1.5)


def test_the_threshold_decides_what_is_flagged(tmp_path: Path, weights: str) -> None:
    white, black = tmp_path / "white.png", tmp_path / "black.png"
    Image.new("RGB", (64, 64), "white").save(white)
    Image.new("RGBA", (64, 64), (0, 0, 0, 255)).save(black)
    assert data_of(white, weights)["flagged"] is True
    assert data_of(black, weights, 0.1)["flagged"] is False


def test_what_cannot_be_scored_is_refused_by_name(tmp_path: Path, weights: str) -> None:
    for image, threshold, name in (
        (toolbox.broken(tmp_path), 0.8, "image_url"),
        (toolbox.picture(tmp_path), 0.0, "threshold"),
    ):
        with pytest.raises(BadInput) as refusal:
            data_of(image, weights, threshold)
        assert refusal.value.field == name
