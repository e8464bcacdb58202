"""Embedded prompts go out of Ogg files; the sound and every checksum stay right."""

import io
import json
from typing import Any

import av
import pytest

from calotype.media.ogg import find_ogg_texts
from calotype.media.probe import probe
from calotype.media.strip import strip
from calotype.sandbox.comfyui_media import recording

GRAPH = json.dumps({"pos": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse"}}})


def decoded(body: bytes) -> tuple[bytes, dict[str, str]]:
    with av.open(io.BytesIO(body)) as container:
        stream = container.streams.audio[0]
        sound = b"".join(bytes(frame.to_ndarray().tobytes()) for frame in container.decode(stream))
        return sound, {**container.metadata, **stream.metadata}


@pytest.mark.parametrize("length", [10, 60_000, 300_000])
def test_a_prompt_is_taken_out_of_opus_however_many_pages_it_fills(length: int) -> None:
    text = json.dumps({"pos": {"class_type": "CLIPTextEncode", "inputs": {"text": "lighthouse " * (length // 10)}}})
    body = recording(1.0, "x", "opus", (("prompt", text),))
    clean = strip(body, "audio/ogg")
    assert isinstance(clean.body, bytes) and not clean.malformed
    assert clean.removed == ("comments",) and len(clean.body) == len(body)
    assert b"lighthouse" in body and b"lighthouse" not in clean.body
    sound, tags = decoded(clean.body)
    assert sound == decoded(body)[0] and "prompt" not in {name.lower() for name in tags}
    assert probe(clean.body).duration_s == probe(body).duration_s


def vorbis(metadata: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="ogg") as container:
        container.metadata.update(metadata)
        stream: Any = container.add_stream("libvorbis", rate=48_000, layout="stereo")
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=4800)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = 48_000, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return out.getvalue()


def test_other_comments_stay_in_vorbis() -> None:
    if "libvorbis" not in av.codecs_available:
        pytest.skip("this build of the film library has no Vorbis encoder")
    body = vorbis({"title": "Waves", "prompt": GRAPH})
    clean = strip(body, "audio/ogg")
    assert isinstance(clean.body, bytes) and b"lighthouse" not in clean.body
    tags = {name.lower(): value for name, value in decoded(clean.body)[1].items()}
    assert tags["title"] == "Waves" and "prompt" not in tags


def test_a_file_without_prompts_is_returned_as_it_is() -> None:
    body = recording(1.0, "x", "opus", ())
    assert strip(body, "audio/ogg").body is body


@pytest.mark.parametrize("cut", [3, 27, 60, 200])
def test_a_broken_file_is_left_as_it_came(cut: int) -> None:
    body = recording(1.0, "x", "opus", (("prompt", GRAPH),))[:cut]
    assert strip(body, "audio/ogg").body is body
    with pytest.raises(ValueError, match=r"page|end"):
        find_ogg_texts(io.BytesIO(body), len(body))
