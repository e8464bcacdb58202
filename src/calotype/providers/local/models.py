"""What this machine can make, as data: upstream model name → function, limits and honest label."""

from typing import Any

from msgspec import Struct

from calotype.kernel.generation import Operation


class Media(Struct, frozen=True):
    """A field of files: the argument that takes the file's path, or the list of their paths when `many`."""

    argument: str
    many: bool = False
    required: bool = True


class LocalModel(Struct, frozen=True):
    """One function of this machine (`package.module:name`, run in a worker process).

    It is called with those of `fields` that are set, with `width` and `height` (from `size` or `aspect_ratio`; `size`
    is the default, and without one the function decides), with `seed` when `seeded`, with the paths of the files of
    `media`, with what it wants of the machine (`runtime.LocalRuntime`), with `progress`, and when it `shows` itself
    while it works and somebody listens with `show`. `deadline_s` is for one output. Sides are pixels. `ai` says that a
    trained model does the work, `own_pool` that it is too large for the worker processes of the tools and runs in those
    with limits of their own.
    """

    function: str
    operation: Operation
    label: str
    content_type: str
    extension: str
    deadline_s: float
    fields: tuple[str, ...] = ()
    defaults: dict[str, Any] = {}
    size: str | None = None
    sides: tuple[int, int] = (256, 2048)
    max_ratio: int = 3
    even: bool = False
    seeded: bool = False
    media: dict[str, Media] = {}
    machine: tuple[str, ...] = ()
    ai: bool = False
    own_pool: bool = False
    shows: bool = False

    @property
    def module(self) -> str:
        """The module of the function."""
        return self.function.partition(":")[0]

    @property
    def reaches_out(self) -> bool:
        """Whether it connects to other machines; what may not leave this one is never given to it."""
        return "allowed_hosts" in self.machine


MODELS: dict[str, LocalModel] = {
    "sketch": LocalModel(
        function="calotype.providers.local.sketch:render",
        operation=Operation.TEXT_TO_IMAGE,
        label="procedural illustration, not an AI model",
        content_type="image/png",
        extension="png",
        deadline_s=60.0,
        fields=("prompt",),
        size="1024x1024",
        seeded=True,
        shows=True,
    ),
    "sketch-video": LocalModel(
        function="calotype.providers.local.sketch.video:render_video",
        operation=Operation.TEXT_TO_VIDEO,
        label="procedural animation, not an AI model",
        content_type="video/mp4",
        extension="mp4",
        deadline_s=600.0,
        fields=("prompt", "seconds", "fps"),
        defaults={"seconds": 4, "fps": 24},
        size="1280x720",
        even=True,
        seeded=True,
    ),
    "ken-burns": LocalModel(
        function="calotype.providers.local.ken_burns:render",
        operation=Operation.IMAGE_TO_VIDEO,
        label="camera move over a still, no generated motion",
        content_type="video/mp4",
        extension="mp4",
        deadline_s=180.0,
        fields=("seconds", "fps", "motion", "zoom"),
        defaults={"seconds": 5},
        even=True,
        media={"image_url": Media("image"), "audio_url": Media("audio", required=False)},
    ),
    "upscale": LocalModel(
        function="calotype.providers.local.upscale:render",
        operation=Operation.UPSCALE,
        label="small super-resolution model, made for illustrations",
        content_type="image/png",
        extension="png",
        deadline_s=300.0,
        fields=("factor",),
        media={"image_url": Media("image")},
        ai=True,
    ),
    "remove-background": LocalModel(
        function="calotype.providers.local.background:render",
        operation=Operation.BACKGROUND_REMOVAL,
        label="saliency model",
        content_type="image/png",
        extension="png",
        deadline_s=120.0,
        fields=("background",),
        media={"image_url": Media("image")},
        ai=True,
    ),
    "nsfw-check": LocalModel(
        function="calotype.providers.local.nsfw:render",
        operation=Operation.MODERATION,
        label="coarse nudity score, not a moderation decision",
        content_type="application/json",
        extension="json",
        deadline_s=60.0,
        fields=("threshold",),
        media={"image_url": Media("image")},
        machine=("models_dir",),
        ai=True,
    ),
    "merge-videos": LocalModel(
        function="calotype.providers.local.films.joining:merge_videos",
        operation=Operation.MEDIA_TOOL,
        label="FFmpeg, no AI model",
        content_type="video/mp4",
        extension="mp4",
        deadline_s=900.0,
        media={"video_urls": Media("videos", many=True)},
        machine=("scratch",),
    ),
    "merge-audio-video": LocalModel(
        function="calotype.providers.local.films.joining:merge_audio_video",
        operation=Operation.MEDIA_TOOL,
        label="FFmpeg, no AI model",
        content_type="video/mp4",
        extension="mp4",
        deadline_s=900.0,
        fields=("keep_sound",),
        media={"video_url": Media("video"), "audio_url": Media("audio")},
        machine=("scratch",),
    ),
    "merge-audio": LocalModel(
        function="calotype.providers.local.films.joining:merge_audio",
        operation=Operation.MEDIA_TOOL,
        label="FFmpeg, no AI model",
        content_type="audio/mpeg",
        extension="mp3",
        deadline_s=300.0,
        fields=("mode", "format"),
        media={"audio_urls": Media("audios", many=True)},
        machine=("scratch",),
    ),
    "overlay-gif": LocalModel(
        function="calotype.providers.local.films.overlays:overlay_gif",
        operation=Operation.MEDIA_TOOL,
        label="FFmpeg, no AI model",
        content_type="video/mp4",
        extension="mp4",
        deadline_s=900.0,
        fields=("x", "y", "start", "end", "width"),
        media={"video_url": Media("video"), "gif_url": Media("gif")},
        machine=("scratch",),
    ),
    "burn-captions": LocalModel(
        function="calotype.providers.local.films.overlays:burn_captions",
        operation=Operation.MEDIA_TOOL,
        label="drawn captions, no AI model",
        content_type="video/mp4",
        extension="mp4",
        deadline_s=900.0,
        fields=("captions", "position", "font_size"),
        media={"video_url": Media("video")},
        machine=("scratch",),
    ),
    "thai-subtitle": LocalModel(
        function="calotype.providers.local.films.subtitling:subtitle",
        operation=Operation.MEDIA_TOOL,
        label="drawn subtitles; speech recognised by Whisper base where no script is given",
        content_type="video/mp4",
        extension="mp4",
        deadline_s=2700.0,
        fields=("script", "animation", "timing_offset_ms"),
        media={"media_url": Media("video")},
        machine=("models_dir", "scratch"),
    ),
    "transcode": LocalModel(
        function="calotype.providers.local.films.converting:transcode",
        operation=Operation.MEDIA_TOOL,
        label="FFmpeg, no AI model",
        content_type="video/mp4",
        extension="mp4",
        deadline_s=900.0,
        fields=("format", "height", "fps", "mute"),
        media={"media_url": Media("media")},
        machine=("scratch",),
    ),
    "extract-last-frame": LocalModel(
        function="calotype.providers.local.films.converting:extract_last_frame",
        operation=Operation.MEDIA_TOOL,
        label="FFmpeg, no AI model",
        content_type="image/png",
        extension="png",
        deadline_s=300.0,
        media={"video_url": Media("video")},
    ),
    "avatar": LocalModel(
        function="calotype.providers.local.avatar:render",
        operation=Operation.TALKING_AVATAR,
        label="lip-flap preview, not lip-sync",
        content_type="video/mp4",
        extension="mp4",
        deadline_s=300.0,
        fields=("text", "voice"),
        seeded=True,
        media={"image_url": Media("image"), "audio_url": Media("audio", required=False)},
        machine=("scratch",),
    ),
    "video-download": LocalModel(
        function="calotype.providers.local.download:render",
        operation=Operation.DOWNLOAD,
        label="fetched by yt-dlp, no AI model",
        content_type="video/mp4",
        extension="mp4",
        deadline_s=900.0,
        fields=("url", "format", "quality"),
        machine=("allowed_hosts", "scratch"),
    ),
    "tts": LocalModel(
        function="calotype.providers.local.tts:speak",
        operation=Operation.TEXT_TO_SPEECH,
        label="synthetic speech by a small neural model, one English voice",
        content_type="audio/mpeg",
        extension="mp3",
        deadline_s=120.0,
        fields=("input", "voice", "response_format", "speed"),
        seeded=True,
        ai=True,
    ),
    "music": LocalModel(
        function="calotype.providers.local.music:render",
        operation=Operation.TEXT_TO_MUSIC,
        label="procedural composition, not a neural model",
        content_type="audio/mpeg",
        extension="mp3",
        deadline_s=120.0,
        fields=("prompt", "seconds", "response_format"),
        defaults={"seconds": 30},
        seeded=True,
    ),
    "transcribe": LocalModel(
        function="calotype.providers.local.transcribe:transcribe",
        operation=Operation.TRANSCRIPTION,
        label="transcription by Whisper base",
        content_type="application/json",
        extension="json",
        deadline_s=1800.0,
        fields=("language", "prompt", "response_format", "temperature", "timestamp_granularities"),
        media={"audio_url": Media("audio")},
        machine=("models_dir",),
        ai=True,
    ),
    "smollm2-135m": LocalModel(
        function="calotype.providers.local.chat:chat",
        operation=Operation.CHAT,
        label="135M test model: expect mistakes",
        content_type="application/json",
        extension="json",
        deadline_s=300.0,
        fields=("messages", "max_tokens", "temperature", "top_p", "stop"),
        machine=("models_dir",),
        seeded=True,
        ai=True,
        shows=True,
    ),
    "denoise": LocalModel(
        function="calotype.providers.local.denoise:denoise",
        operation=Operation.MEDIA_TOOL,
        label="noise reduction by signal processing, not an AI model",
        content_type="audio/wav",
        extension="wav",
        deadline_s=300.0,
        fields=("strength", "response_format"),
        media={"audio_url": Media("audio")},
    ),
}
