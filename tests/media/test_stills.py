"""Stills of films: from every container that is stored, in bounds, and none of what is no film."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from calotype.kernel.errors import Problem
from calotype.media import stills


def film(path: Path, *, codec: str = "libx264", frames: int = 40, side: int = 64, gap: int = 12) -> Path:
    """A film that grows brighter from black to white."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gap
        for n in range(frames):
            pixels = np.full((side, side, 3), n * 255 // (frames - 1), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels)):
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


def opened(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body)).convert("L")


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.mkv", "libx264")])
def test_a_sheet_shows_a_film_from_its_begin_to_its_end(tmp_path: Path, name: str, codec: str) -> None:
    sheet = opened(stills.spritesheet(film(tmp_path / name, codec=codec)))
    assert sheet.size == (stills.COLUMNS * 64, stills.ROWS * 64)
    cells = [
        float(np.asarray(sheet.crop((x * 64, y * 64, x * 64 + 64, y * 64 + 64))).mean())
        for y in range(stills.ROWS)
        for x in range(stills.COLUMNS)
    ]
    assert cells == sorted(cells) and cells[0] < 20 and cells[-1] > 200


def test_a_thumbnail_is_bounded_and_not_of_the_first_frame(tmp_path: Path) -> None:
    picture = opened(stills.thumbnail(film(tmp_path / "a.mp4", side=640)))
    assert picture.size == (512, 512) and 10 < float(np.asarray(picture).mean()) < 60


def test_a_moving_gif_is_a_film_too(tmp_path: Path) -> None:
    frames = [Image.new("P", (40, 30), n) for n in range(8)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    assert opened(stills.spritesheet(tmp_path / "a.gif")).size == (5 * 40, 4 * 30)


def test_a_film_with_far_key_frames_gives_a_shorter_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stills, "MAX_FRAMES", 50)
    sheet = opened(stills.spritesheet(film(tmp_path / "a.mp4", gap=1000)))
    assert sheet.height < stills.ROWS * 64


@pytest.mark.parametrize("body", [b"", b"nonsense", b"#EXTM3U\nfile:///etc/passwd\n", b"\x00\x00\x00\x18ftypmp42" * 9])
def test_what_is_no_film_has_no_stills(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(body)
    for make in (stills.thumbnail, stills.spritesheet):
        with pytest.raises(Problem) as refusal:
            make(path)
        assert refusal.value.field == "variant"
