"""What the tools of this machine are tried with: small pictures, films and sounds, drawn and computed here."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import soundbox
from PIL import Image, ImageDraw, ImageFilter

Files = dict[str, Any]


class Sample(NamedTuple):
    """An input that works; inputs that do not, with the field to name; and a look at the result."""

    model: str
    fields: dict[str, Any]
    files: Callable[[Path], Files]
    bad: tuple[tuple[dict[str, Any], Files, str], ...] = ()
    look: Callable[[Path], None] = lambda path: None

    @property
    def card(self) -> str:
        """The id of its card."""
        return self.model if self.model == "thai-subtitle" else f"local/{self.model}"


def once(path: Path, make: Callable[[Path], None]) -> Path:
    if not path.exists():
        make(path)
    return path


def picture(folder: Path, size: tuple[int, int] = (96, 64)) -> Path:
    """A ball before a soft sky."""

    def draw(path: Path) -> None:
        width, height = size
        ramp = np.linspace(90, 220, height, dtype=np.uint8)[:, None].repeat(width, 1)
        image = Image.fromarray(np.dstack([ramp // 2, ramp - 30, ramp]))
        side = min(size)
        box = (width // 2 - side // 3, height // 2 - side // 3, width // 2 + side // 3, height // 2 + side // 3)
        ImageDraw.Draw(image).ellipse(box, fill=(220, 60, 30), outline=(90, 20, 10), width=2)
        image.save(path)

    return once(folder / f"picture-{size[0]}x{size[1]}.png", draw)


def portrait(folder: Path) -> Path:
    """A face, drawn well enough for a face detector; 256 pixels, its lips meet at (128, 172)."""

    def draw(path: Path) -> None:
        k = 4
        image = Image.new("RGB", (256 * k, 256 * k), (120, 140, 160))
        pen = ImageDraw.Draw(image)

        def oval(x: float, y: float, wide: float, high: float, colour: tuple[int, int, int]) -> None:
            pen.ellipse([(x - wide) * k, (y - high) * k, (x + wide) * k, (y + high) * k], fill=colour)

        for shape in (
            (128, 260, 110, 60, (60, 70, 110)), (128, 205, 26, 40, (200, 150, 120)), (128, 112, 74, 88, (60, 40, 28)),
            (128, 128, 60, 76, (224, 172, 140)), (128, 140, 9, 14, (206, 150, 120)), (128, 134, 6, 14, (236, 188, 156)),
            (122, 150, 3, 2, (150, 95, 75)), (134, 150, 3, 2, (150, 95, 75)), (128, 172, 22, 7, (176, 70, 70)),
        ):  # fmt: skip
            oval(*shape)
        for side in (103, 153):
            oval(side, 98, 15, 4, (70, 45, 30))
            oval(side, 114, 13, 7, (245, 240, 235))
            oval(side, 114, 7, 7, (80, 50, 30))
        pen.rectangle([106 * k, 171 * k, 150 * k, 172 * k], fill=(110, 35, 40))
        image.filter(ImageFilter.GaussianBlur(2.2 * k)).resize((256, 256), Image.Resampling.LANCZOS).save(path)

    return once(folder / "portrait.png", draw)


def glass(folder: Path) -> Path:
    """A picture that is half transparent."""

    def draw(path: Path) -> None:
        image = Image.new("RGBA", (48, 40), (0, 120, 200, 255))
        image.paste((0, 0, 0, 0), (24, 0, 48, 40))
        image.save(path)

    return once(folder / "glass.png", draw)


def film(folder: Path, *, sound: bool = True, size: tuple[int, int] = (64, 48), frames: int = 12) -> Path:
    """A film whose pictures get lighter and whose first second and a half has a tone."""

    def shoot(path: Path) -> None:
        with av.open(str(path), "w", format="mp4") as out:
            pictures = out.add_stream("libx264", rate=10, options={"preset": "ultrafast", "crf": "10"})
            pictures.width, pictures.height, pictures.pix_fmt = *size, "yuv420p"
            tone = out.add_stream("aac", rate=48000, layout="stereo") if sound else None
            for n in range(frames):
                pixels = np.full((size[1], size[0], 3), 20 + 200 * n // frames, np.uint8)
                out.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            out.mux(pictures.encode(None))
            if tone is not None:
                for frame in av.AudioResampler("fltp", "stereo", 48000, 1024).resample(_tone(frames / 10)):
                    out.mux(tone.encode(frame))
                out.mux(tone.encode(None))

    return once(folder / f"film-{sound}-{size[0]}x{size[1]}-{frames}.mp4", shoot)


def tone(folder: Path, seconds: float = 0.5) -> Path:
    """A recording of one note."""

    def play(path: Path) -> None:
        with av.open(str(path), "w", format="wav") as out:
            stream = out.add_stream("pcm_s16le", rate=48000, layout="stereo")
            for frame in av.AudioResampler("s16", "stereo", 48000).resample(_tone(seconds)):
                out.mux(stream.encode(frame))

    return once(folder / f"tone-{seconds}.wav", play)


def _tone(seconds: float) -> av.AudioFrame:
    at = np.arange(round(48000 * seconds)) / 48000
    wave = (0.4 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    return frame


def animation(folder: Path) -> Path:
    def draw(path: Path) -> None:
        pictures = [Image.new("RGB", (16, 12), colour) for colour in ("red", "lime", "blue")]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, loop=0)

    return once(folder / "animation.gif", draw)


def broken(folder: Path) -> Path:
    return once(folder / "broken.bin", lambda path: path.write_bytes(b"neither picture nor film") and None)


def playlist(folder: Path) -> Path:
    """A list that would make a careless reader open something else."""
    text = "#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
    return once(folder / "list.m3u8", lambda path: path.write_text(text) and None)


def _looks_like(size: tuple[int, int], mode: str) -> Callable[[Path], None]:
    def look(path: Path) -> None:
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == (size, mode, "PNG")

    return look


def image_samples(folder: Path) -> list[Sample]:
    no_picture = {"image_url": broken(folder)}
    return [
        Sample(
            "upscale",
            {"factor": 2},
            lambda folder: {"image_url": glass(folder)},
            (({}, no_picture, "image_url"), ({"factor": 4}, {"image_url": picture(folder, (1100, 32))}, "image_url")),
            _looks_like((96, 80), "RGBA"),
        ),
        Sample(
            "remove-background",
            {},
            lambda folder: {"image_url": picture(folder)},
            (({}, no_picture, "image_url"), ({}, {"image_url": playlist(folder)}, "image_url")),
            _looks_like((96, 64), "RGBA"),
        ),
        Sample(
            "remove-background",
            {"background": "#ffffff"},
            lambda folder: {"image_url": glass(folder)},
            (({"background": "white"}, {}, "background"),),
            _looks_like((48, 40), "RGB"),
        ),
    ]


def _film_of(
    size: tuple[int, int], seconds: float, codec: str = "h264", *, sound: bool = True
) -> Callable[[Path], None]:
    def look(path: Path) -> None:
        with av.open(str(path)) as made:
            pictures = made.streams.video[0]
            assert (pictures.width, pictures.height, pictures.codec_context.name) == (*size, codec)
            assert abs(made.duration / av.time_base - seconds) < 0.15
            assert bool(made.streams.audio) is sound

    return look


def _sound_of(seconds: float) -> Callable[[Path], None]:
    def look(path: Path) -> None:
        with av.open(str(path)) as made:
            assert not made.streams.video
            assert abs(made.duration / av.time_base - seconds) < 0.15

    return look


def film_samples(folder: Path) -> list[Sample]:
    bad, text = {"video_url": broken(folder)}, "1\n00:00:00,100 --> 00:00:00,900\nHello\n"
    return [
        Sample(
            "merge-videos",
            {},
            lambda folder: {"video_urls": [film(folder), film(folder, sound=False, size=(48, 64), frames=6)]},
            (
                ({}, {"video_urls": [film(folder), playlist(folder)]}, "video_urls.1"),
                ({}, {"video_urls": [film(folder)]}, "video_urls"),
                ({}, {"video_urls": [tone(folder), film(folder)]}, "video_urls.0"),
            ),
            _film_of((64, 48), 1.8),
        ),
        Sample(
            "merge-audio-video",
            {},
            lambda folder: {"video_url": film(folder, sound=False), "audio_url": tone(folder)},
            (({}, bad, "video_url"), ({}, {"audio_url": film(folder, sound=False)}, "audio_url")),
            _film_of((64, 48), 1.2),
        ),
        Sample(
            "merge-audio-video",
            {"keep_sound": True},
            lambda folder: {"video_url": film(folder), "audio_url": tone(folder, 3.0)},
            (({}, {"audio_url": None}, "audio_url"),),
            _film_of((64, 48), 1.2),
        ),
        Sample(
            "merge-audio",
            {},
            lambda folder: {"audio_urls": [tone(folder), film(folder)]},
            (({}, {"audio_urls": [tone(folder), broken(folder)]}, "audio_urls.1"),),
            _sound_of(1.7),
        ),
        Sample(
            "merge-audio",
            {"mode": "mix", "format": "wav"},
            lambda folder: {"audio_urls": [tone(folder), tone(folder, 3.0)]},
            (({"mode": "blend"}, {}, "mode"), ({"format": "ogg"}, {}, "format")),
            _sound_of(3.0),
        ),
        Sample(
            "overlay-gif",
            {"x": 10, "y": 8, "start": 0.2, "end": 0.8},
            lambda folder: {"video_url": film(folder), "gif_url": animation(folder)},
            (
                ({"start": 50}, {}, "start"),
                ({"end": 0.1}, {}, "end"),
                ({"width": 9000}, {}, "width"),
                ({}, {"gif_url": broken(folder)}, "gif_url"),
                ({}, bad, "video_url"),
            ),
            _film_of((64, 48), 1.2),
        ),
        Sample(
            "burn-captions",
            {"captions": text},
            lambda folder: {"video_url": film(folder, size=(128, 72))},
            (
                ({"captions": "no times"}, {}, "captions"),
                ({"captions": "1\n0:9 --> never\nHello"}, {}, "captions"),
                ({"position": "left"}, {}, "position"),
                ({}, bad, "video_url"),
            ),
            _film_of((128, 72), 1.2),
        ),
        Sample(
            "transcode",
            {"format": "webm", "height": 240, "fps": 5, "mute": True},
            lambda folder: {"media_url": film(folder)},
            (
                ({"format": "exe"}, {}, "format"),
                ({"height": 5000}, {}, "height"),
                ({"fps": 0}, {}, "fps"),
                ({}, {"media_url": playlist(folder)}, "media_url"),
                ({}, {"media_url": tone(folder)}, "media_url"),
            ),
            _film_of((320, 240), 1.2, "vp9", sound=False),
        ),
        Sample(
            "transcode",
            {"format": "mp3"},
            lambda folder: {"media_url": film(folder)},
            (({}, {"media_url": film(folder, sound=False)}, "media_url"),),
            _sound_of(1.2),
        ),
        Sample(
            "extract-last-frame",
            {},
            lambda folder: {"video_url": film(folder)},
            (({}, bad, "video_url"),),
            _last_picture,
        ),
    ]


def _last_picture(path: Path) -> None:
    with Image.open(path) as image:
        assert image.size == (64, 48)
        assert abs(image.convert("L").getpixel((30, 20)) - (20 + 200 * 11 // 12)) < 6


def score_samples(folder: Path) -> list[Sample]:
    """What only scores; its weights are pulled first, which a run does once."""
    soundbox.pulled("open-nsfw", folder / "models")
    return [
        Sample(
            "nsfw-check",
            {"threshold": 0.9},
            lambda folder: {"image_url": picture(folder)},
            (({"threshold": 0}, {}, "threshold"), ({}, {"image_url": broken(folder)}, "image_url")),
        )
    ]


def still_samples(folder: Path) -> list[Sample]:
    return [
        Sample(
            "ken-burns",
            {"seconds": 1, "size": "256x256", "zoom": {"mode": "pan_left", "pan_speed": 2.0}},
            lambda folder: {"image_url": picture(folder, (300, 200)), "audio_url": tone(folder)},
            (
                ({"zoom": {"mode": "spin"}}, {}, "zoom.mode"),
                ({"zoom": {"max_scale": 9}}, {}, "zoom.max_scale"),
                ({"zoom": "center"}, {}, "zoom"),
                ({}, {"audio_url": picture(folder)}, "audio_url"),
                ({}, {"image_url": broken(folder)}, "image_url"),
            ),
            _film_of((256, 256), 1.0),
        ),
        Sample(
            "avatar",
            {},
            lambda folder: {"image_url": portrait(folder), "audio_url": tone(folder, 1.0)},
            (
                ({"text": "both"}, {}, "audio_url"),
                ({}, {"audio_url": None}, "audio_url"),
                ({}, {"audio_url": film(folder, sound=False)}, "audio_url"),
                ({}, {"image_url": broken(folder)}, "image_url"),
                ({"text": "..."}, {"audio_url": None}, "text"),
                ({"text": "Hello.", "voice": "nobody"}, {"audio_url": None}, "voice"),
            ),
            _film_of((512, 512), 1.0),
        ),
    ]


def drawn_samples(folder: Path) -> list[Sample]:
    refused: tuple[tuple[dict[str, Any], Files, str], ...] = (
        ({"size": "64x64"}, {}, "size"),
        ({"seed": -1}, {}, "seed"),
    )
    return [
        Sample("sketch", {"prompt": "three boats", "size": "256x256", "seed": 1}, lambda folder: {}, refused, _drawing),
        Sample(
            "sketch-video", {"prompt": "waves", "size": "256x256", "seconds": 1}, lambda folder: {}, refused,
            _film_of((256, 256), 1.0, sound=False),
        ),
        Sample(
            "thai-subtitle", {"script": "สวัสดี"}, lambda folder: {"media_url": film(folder)},
            (
                ({"script": " "}, {}, "script"),
                ({"timing_offset_ms": 301}, {}, "timing_offset_ms"),
                ({}, {"media_url": broken(folder)}, "media_url"),
            ),
        ),
    ]  # fmt: skip


def _drawing(path: Path) -> None:
    with Image.open(path) as image:
        assert image.size == (256, 256)
        assert len(set(image.convert("RGB").get_flattened_data())) > 50
