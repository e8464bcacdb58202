"""A face that seems to speak: found where it is, open when it is loud, still when it is quiet."""

from pathlib import Path

import av
import numpy as np
import pytest
import toolbox
from numpy.typing import NDArray
from PIL import Image

from calotype.providers.local import avatar
from calotype.providers.local.avatar_warp import Eye, Mouth
from calotype.providers.local.face import CHIN, LOWER_LIDS, LOWER_LIP, UPPER_LIDS, find_face
from calotype.providers.local.messages import BadInput, Made

Pixels = NDArray[np.uint8]


def quiet(share: float) -> None:
    return None


def picture(folder: Path) -> Image.Image:
    with Image.open(toolbox.portrait(folder)) as image:
        return image.convert("RGB")


def frames(made: Made) -> list[Pixels]:
    assert isinstance(made.file, Path)
    with av.open(str(made.file)) as film:
        assert len(film.streams.audio) == 1
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


@pytest.mark.parametrize("degrees", [0, 20, -25])
def test_the_face_and_its_mouth_are_found_also_when_it_is_tilted(tmp_path: Path, degrees: int) -> None:
    face = find_face(picture(tmp_path).rotate(degrees, fillcolor=(120, 140, 160)))
    assert face is not None
    turn = np.radians(-degrees)
    down = 172 - 128
    expected = (128 - down * np.sin(turn), 128 + down * np.cos(turn))
    assert np.hypot(*(face.points[LOWER_LIP[5]] - expected)) < 9
    assert face.points[CHIN][1] > face.points[LOWER_LIP[5]][1]


def test_where_there_is_no_face_none_is_found(tmp_path: Path) -> None:
    with Image.open(toolbox.picture(tmp_path, (300, 200))) as image:
        assert find_face(image.convert("RGB")) is None


def test_an_open_mouth_is_dark_and_moves_the_chin_and_nothing_above(tmp_path: Path) -> None:
    square, face = avatar.framed(picture(tmp_path))
    assert face is not None
    still = np.asarray(square)
    mouth = Mouth(face.points, square.size)
    shut, half, wide = (mouth.opened(still, share) for share in (0.0, 0.5, 1.0))
    dark = [int((pixels.max(axis=2) < 60).sum()) for pixels in (shut, half, wide)]
    assert dark[0] == 0
    assert dark[0] < dark[1] < dark[2]
    top = int(face.points[LOWER_LIP, 1].min()) - mouth.patch.top - 4
    assert np.abs(shut[:top].astype(int) - wide[:top]).max() <= 1
    edge = np.abs(shut.astype(int) - wide)
    assert max(edge[-2:].max(), edge[:, :2].max(), edge[:, -2:].max()) <= 12


def test_a_closed_lid_hides_the_eye() -> None:
    points = np.zeros((468, 2))
    across = np.linspace(-1.0, 1.0, 9)
    bow = 8.0 * (1.0 - across**2)
    still = np.full((100, 120, 3), 150, np.uint8)
    for number in (0, 1):
        points[list(UPPER_LIDS[number])] = np.stack([60 + 22 * across, 50 - bow], axis=1)
        points[list(LOWER_LIDS[number])] = np.stack([60 + 22 * across, 50 + bow], axis=1)
    y, x = np.mgrid[:100, :120]
    still[(np.abs(y - 50) < 8.0 * (1.0 - ((x - 60) / 22) ** 2))] = 255
    for number in (0, 1):
        eye = Eye(points, number, (120, 100))
        white = [int((eye.closed(still, share).min(axis=2) > 200).sum()) for share in (0.0, 0.5, 1.0)]
        assert white[2] < white[0] / 10
        assert white[2] < white[1] < white[0]


def test_the_mouth_follows_the_sound_and_the_eyes_blink(tmp_path: Path) -> None:
    made = avatar.render(
        image=str(toolbox.portrait(tmp_path)), audio=str(toolbox.film(tmp_path, frames=8)), scratch=str(tmp_path),
        progress=quiet,
    )  # fmt: skip
    assert made.data["face_found"] is True
    assert made.warnings == ()
    assert len(frames(made)) == pytest.approx(20, abs=2)
    opening, seconds = avatar.opening_of(str(toolbox.tone(tmp_path, 1.0)))
    assert (len(opening), seconds) == (25, 1.0)
    assert opening[5:20].min() > 0.5
    lids = avatar.blinks(500, 7)
    assert 3 <= int((np.diff((lids > 0).astype(int)) == 1).sum()) <= 8
    assert np.array_equal(lids, avatar.blinks(500, 7))


def test_hiss_and_silence_keep_the_mouth_nearly_shut(tmp_path: Path) -> None:
    at = np.arange(16_000) / 16_000
    wave = np.concatenate([0.3 * np.sin(2 * np.pi * 300 * at), 0.3 * np.sin(2 * np.pi * 5000 * at), 0 * at])
    path = tmp_path / "speech.wav"
    with av.open(str(path), "w", format="wav") as out:
        stream = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        out.mux(stream.encode(frame))
    opening, _ = avatar.opening_of(str(path))
    vowel, hiss, silence = opening[5:20].mean(), opening[30:45].mean(), opening[55:70].mean()
    assert vowel > 0.8
    assert hiss < 0.5 * vowel
    assert silence == 0


def test_a_text_is_read_aloud_first(tmp_path: Path) -> None:
    made = avatar.render(image=str(toolbox.portrait(tmp_path)), text="Hello.", scratch=str(tmp_path), progress=quiet)
    assert 5 < len(frames(made)) < 75


def test_without_a_face_the_waveform_is_shown_and_said(tmp_path: Path) -> None:
    made = avatar.render(
        image=str(toolbox.picture(tmp_path, (300, 200))), audio=str(toolbox.tone(tmp_path)), scratch=str(tmp_path),
        progress=quiet,
    )  # fmt: skip
    assert made.data["face_found"] is False
    assert made.warnings == ("no face was found; the picture is shown with the sound's waveform",)
    seen = frames(made)[5]
    assert seen[476, 256:262].max() > 200


def test_speech_is_a_minute_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avatar, "MAX_SECONDS", 0.5)
    with pytest.raises(BadInput) as refusal:
        avatar.render(
            image=str(toolbox.portrait(tmp_path)), audio=str(toolbox.tone(tmp_path, 3.0)), scratch=str(tmp_path),
            progress=quiet,
        )  # fmt: skip
    assert refusal.value.field == "audio_url"
