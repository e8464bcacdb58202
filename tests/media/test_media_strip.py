import io
import struct
import zlib

import av
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from samples import film, frames, picture, pixels, sound

from calotype.media.probe import probe
from calotype.media.prompts import clean_exif, clean_xmp
from calotype.media.strip import strip

PROMPT = "a secret castle on a hill"
GRAPH = '{"3": {"class_type": "KSampler", "inputs": {"text": "a secret castle on a hill"}}}'
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia">'
    "%s</rdf:Description></rdf:RDF></x:xmpmeta>"
)
PROMPT_XMP = (XMP % f"<dc:description>{PROMPT}</dc:description>").encode()
MARK_XMP = (XMP % "").encode()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(*chunks: bytes) -> bytes:
    data = picture("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def texts(data: bytes) -> dict[str, str]:
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        return dict(opened.text)


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_segments(*segments: bytes) -> bytes:
    data = picture("JPEG")
    return data[:2] + b"".join(segments) + data[2:]


def test_prompts_and_graphs_leave_a_png_and_every_pixel_stays():
    info = PngInfo()
    info.add_text("parameters", f"{PROMPT}\nSteps: 20, Sampler: Euler")
    info.add_text("prompt", GRAPH)
    info.add_text("workflow", '{"nodes": []}', zip=True)
    info.add_itxt("Description", PROMPT)
    info.add_text("Copyright", "Jane Doe")
    data = picture("PNG", pnginfo=info, icc_profile=b"i" * 200)
    result = strip(data, "image/png")
    assert set(result.removed) == {"parameters", "prompt", "workflow", "Description"}
    assert texts(result.body) == {"Copyright": "Jane Doe"}
    assert pixels(result.body) == pixels(data)
    assert b"secret" not in result.body
    assert Image.open(io.BytesIO(result.body)).info["icc_profile"] == b"i" * 200


def test_a_png_without_prompts_is_not_copied():
    data = picture("PNG", dpi=(72, 72))
    assert strip(data, "image/png").body is data


def test_our_own_label_stays():
    info = PngInfo()
    info.add_text("Software", "Calotype 0.1.0")
    info.add_text("Description", "procedural illustration, not an AI model")
    data = picture("PNG", pnginfo=info)
    assert strip(data, "image/png").body is data


def test_a_prompt_cannot_hide_behind_our_label():
    info = PngInfo()
    info.add_text("Software", f"Calotype {GRAPH}")
    info.add_text("Description", "procedural illustration, not an AI model" + "x" * 400)
    assert texts(strip(picture("PNG", pnginfo=info), "image/png").body) == {}


def test_marks_of_ai_origin_stay_in_a_png():
    manifest, label = chunk(b"caBX", b"jumbf manifest"), chunk(b"tEXt", b'AIGC\x00{"Label":"1"}')
    graph = chunk(b"tEXt", b"prompt\x00" + GRAPH.encode())
    data = with_chunks(manifest, label, graph, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PROMPT_XMP))
    body = strip(data, "image/png").body
    assert manifest in body
    assert label in body
    assert b"trainedAlgorithmicMedia" in body
    assert b"secret" not in body
    assert pixels(body) == pixels(data)


def test_a_jpeg_loses_comment_and_exif_texts_and_keeps_manifest_orientation_and_profile():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = PROMPT
    exif[0x010F] = f"prompt:{GRAPH}"
    exif[0x0131] = "SomeCamera 1.0"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\x00\x00\x00" + PROMPT.encode()
    data = picture("JPEG", exif=exif.tobytes(), comment=PROMPT, icc_profile=b"i" * 200)
    manifest = segment(0xEB, b"JP\x00\x01\x00\x00\x00\x01jumb c2pa")
    data = data[:2] + manifest + data[2:]
    result = strip(data, "image/jpeg")
    assert b"secret" not in result.body
    assert manifest in result.body
    with Image.open(io.BytesIO(result.body)) as opened:
        kept = opened.getexif()
        assert kept[0x0112] == 6
        assert kept[0x0131] == "SomeCamera 1.0"
        assert opened.info["icc_profile"] == b"i" * 200
    assert pixels(result.body) == pixels(data)
    assert set(result.removed) == {"EXIF", "COM"}


def test_jpeg_xmp_is_reduced_to_its_marks_or_left_alone():
    head = b"http://ns.adobe.com/xap/1.0/\x00"
    reduced = strip(with_segments(segment(0xE1, head + PROMPT_XMP)), "image/jpeg").body
    assert b"secret" not in reduced
    assert b"trainedAlgorithmicMedia" in reduced
    marked = with_segments(segment(0xE1, head + MARK_XMP))
    assert strip(marked, "image/jpeg").body is marked


def test_a_webp_loses_prompts_and_keeps_its_manifest():
    exif = Image.Exif()
    exif[0x0112] = 3
    exif[0x010F] = f"prompt:{GRAPH}"
    data = picture("WEBP", exif=exif.tobytes(), xmp=(XMP.replace("Iptc4xmpExt:Digital", "x:d") % GRAPH).encode())
    manifest = b"C2PA" + struct.pack("<I", 4) + b"jumb"
    data = b"RIFF" + struct.pack("<I", len(data) - 8 + len(manifest)) + data[8:] + manifest
    result = strip(data, "image/webp")
    assert set(result.removed) == {"EXIF", "XMP"}
    assert b"secret" not in result.body
    assert manifest in result.body
    assert data[20] & 0x04
    assert not result.body[20] & 0x04  # VP8X says whether there is XMP
    with Image.open(io.BytesIO(result.body)) as opened:
        assert opened.getexif()[0x0112] == 3
        assert "xmp" not in opened.info
    assert pixels(result.body) == pixels(data)


@pytest.mark.parametrize("flags", ["", "use_metadata_tags", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("as_file", [True, False], ids=["file", "bytes"])
def test_a_film_loses_comments_and_graphs_in_place(flags, as_file, tmp_path):
    metadata = {"comment": PROMPT, "description": GRAPH, "prompt": GRAPH, "workflow": GRAPH, "title": "Castle"}
    data = film("mp4", metadata=metadata, flags=flags)
    assert b"secret" in data
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    result = strip(path if as_file else data, "video/mp4")
    body = path.read_bytes() if as_file else result.body
    assert result.removed
    assert not result.malformed
    assert b"secret" not in body
    assert len(body) == len(data)
    assert frames(body) == frames(data)
    assert av.open(io.BytesIO(body)).metadata.get("title") == "Castle"


def test_a_film_without_prompts_and_its_manifest_stay_as_they_are():
    manifest = struct.pack(">I4s", 32, b"uuid") + bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + b"c2pa    "
    data = film("mp4") + manifest
    assert strip(data, "video/mp4").body is data


@pytest.mark.parametrize(
    ("make", "content_type"),
    [
        (lambda meta: film("webm", metadata=meta), "video/webm"),
        (lambda meta: sound("flac", "flac", metadata=meta), "audio/flac"),
        (lambda meta: sound("mp3", "libmp3lame", metadata=meta), "audio/mpeg"),
    ],
)
def test_other_containers_lose_graphs_too_and_still_play(make, content_type):
    data = make({"comment": PROMPT, "prompt": GRAPH})
    assert b"secret" in data
    result = strip(data, content_type)
    assert b"secret" not in result.body
    assert len(result.body) == len(data)
    assert probe(result.body).duration_s == pytest.approx(probe(data).duration_s, abs=0.05)
    clean = make({})
    assert strip(clean, content_type).body is clean


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (picture("PNG")[:60], "image/png"),
        (with_chunks(b"\xff\xff\xff\xfftEXtprompt"), "image/png"),
        (picture("JPEG")[:30], "image/jpeg"),
        (with_segments(segment(0xE1, b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")), "image/jpeg"),
        (picture("WEBP")[:40], "image/webp"),
        (film()[:-20], "video/mp4"),
        (b"", "image/png"),
    ],
)
def test_a_malformed_file_is_left_alone_and_flagged(data, content_type):
    result = strip(data, content_type)
    assert result.body is data
    assert result.malformed
    assert result.removed == ()


def test_a_large_picture_on_disk_is_rewritten_in_place(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(with_chunks(chunk(b"tEXt", b"prompt\x00" + GRAPH.encode())))
    result = strip(path, "image/png")
    assert result.body == path
    assert path.read_bytes() == picture("PNG")


def test_an_exif_block_that_points_in_circles_ends():
    block = (
        b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 1) + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    )
    assert clean_exif(block) is block


def test_xmp_with_nothing_but_prompts_goes():
    assert clean_xmp(f"<dc:description>{PROMPT}</dc:description>".encode()) is None
