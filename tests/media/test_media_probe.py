import struct

import pytest
from PIL import Image
from samples import film, picture, sound

from calotype.media.probe import EXTENSIONS, Facts, is_quick, probe, sniff


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_a_picture_is_known_by_its_bytes_and_measured_without_decoding(kind, tmp_path):
    data = picture(kind, (640, 123))
    facts = probe(data)
    assert facts == Facts(f"image/{kind.lower()}", width=640, height=123)
    (tmp_path / "file").write_bytes(data)
    assert probe(tmp_path / "file") == facts


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"exif": Image.Exif().tobytes()}])
def test_every_form_of_webp_is_measured(options):
    if "exif" in options:
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif}
    assert probe(picture("WEBP", (77, 33), **options)) == Facts("image/webp", width=77, height=33)


def test_a_progressive_jpeg_behind_large_segments_is_measured():
    data = picture("JPEG", (300, 200), progressive=True, icc_profile=b"i" * 60_000)
    assert probe(data) == Facts("image/jpeg", width=300, height=200)


def test_a_decompression_bomb_costs_nothing():
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 200_000, 200_000, 8, 6, 0, 0, 0) + b"\x00" * 4
    assert probe(bomb) == Facts("image/png", width=200_000, height=200_000)
    assert probe(b"II*\x00" + b"\xff" * 100) == Facts("image/tiff")


@pytest.mark.parametrize(
    ("data", "content_type", "codec"),
    [
        (lambda: film("mp4"), "video/mp4", "mpeg4"),
        (lambda: film("webm"), "video/webm", "vp8"),
        (lambda: film("mov"), "video/quicktime", "mpeg4"),
        (lambda: film("matroska"), "video/x-matroska", "mpeg4"),
    ],
)
def test_a_film_has_size_duration_and_codec(data, content_type, codec, tmp_path):
    (tmp_path / "file").write_bytes(data())
    facts = probe(tmp_path / "file")
    assert (facts.content_type, facts.width, facts.height, facts.video_codec) == (content_type, 64, 48, codec)
    assert facts.duration_s == pytest.approx(1.0, abs=0.15)
    assert facts.audio_codec is None


@pytest.mark.parametrize(
    ("container", "codec", "content_type"),
    [
        ("wav", "pcm_s16le", "audio/wav"),
        ("flac", "flac", "audio/flac"),
        ("mp3", "libmp3lame", "audio/mpeg"),
        ("ogg", "libopus", "audio/ogg"),
        ("adts", "aac", "audio/aac"),
        ("ipod", "aac", "audio/mp4"),
        ("mp4", "aac", "audio/mp4"),
    ],
)
def test_a_sound_has_a_duration_and_no_size(container, codec, content_type):
    facts = probe(sound(container, codec))
    assert facts.content_type == content_type
    assert facts.duration_s == pytest.approx(2.0, abs=0.2)
    assert facts.audio_codec is not None
    assert facts.width is None


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (b'<?xml version="1.0"?><svg xmlns="x">', "image/svg+xml"),
        (b"  <svg>", "image/svg+xml"),
        (b"<!DOCTYPE html><p>", "text/html"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04zip", "application/zip"),
        (b"glTF\x02\x00\x00\x00", "model/gltf-binary"),
        (b'{"a": 1}', "application/json"),
        ("grüezi".encode(), "text/plain"),
        (b"\x00\x01\x02", "application/octet-stream"),
        (b"", "application/octet-stream"),
        (b"#EXTM3U\nhttp://169.254.169.254/\n", "text/plain"),
    ],
)
def test_other_files_are_sniffed_and_a_playlist_is_only_text(head, content_type):
    assert sniff(head) == content_type
    assert probe(head).content_type == content_type
    assert content_type in EXTENSIONS


WHOLE = [picture("PNG"), picture("JPEG"), picture("WEBP"), film(), sound("mp3", "libmp3lame")]


@pytest.mark.parametrize("data", WHOLE, ids=["png", "jpeg", "webp", "mp4", "mp3"])
def test_a_cut_file_keeps_its_type_and_never_raises(data):
    for length in (3, 12, 20, 30, 100, len(data) // 2):
        probe(data[:length])
    assert probe(data[: len(data) // 2]).content_type == probe(data).content_type


def test_only_containers_are_slow():
    assert is_quick(picture("PNG")[:64])
    assert not is_quick(film()[:64])
