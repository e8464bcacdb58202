"""The services as a table (`wire/products.md B2, B3`): a new service is a new row.

What a service takes, its bounds and its price are those of its card in the catalogue.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Literal

from msgspec import Struct

from calotype.kernel.job import JobState

Settle = Literal["creation", "completion"]
Selector = str
"""Where a result is found: a kind of file (`image`, `video`, `audio`, `file`), all of that kind (`images`, `audios`),
one that the provider named (`named:origin_video`), or what is no file (`data:character_id`)."""


class Family(Enum):
    """How a service writes the state of a job; the words and their case matter (`wire/products.md B2`)."""

    UPPER = ("QUEUED", "PROCESSING", "COMPLETED", "FAILED", "FAILED")
    UPPER_FOUR = ("PENDING", "PROCESSING", "COMPLETED", "FAILED", "FAILED")
    LOWER = ("processing", "processing", "completed", "failed", "cancelled")

    def word(self, state: JobState) -> str:
        """Return the word for a state."""
        return self.value[_PLACE[state]]

    @property
    def ended(self) -> frozenset[str]:
        """The words after which nothing changes any more."""
        return frozenset(self.value[2:])


_PLACE: Mapping[JobState, int] = {
    JobState.QUEUED: 0,
    JobState.SUBMITTING: 1,
    JobState.RUNNING: 1,
    JobState.STORING: 1,
    JobState.SUCCEEDED: 2,
    JobState.FAILED: 3,
    JobState.CANCELED: 4,
}


class Service(Struct, frozen=True, kw_only=True):
    """One service: its paths, its cards and the words of its answers.

    `create` is the path of the call that makes a job and `status` what stands before a job's id. `models` are the
    cards it may run: the first one, unless the field `chosen_by` names another. `names` are the caller's names of
    fields that the card calls otherwise. `history` and `listed` are paths that list its jobs; `listed` has those alone
    that succeeded. `settle` says when the debit is shown.
    """

    title: str
    words: str
    create: str
    status: str
    models: tuple[str, ...]
    family: Family
    results: Mapping[str, Selector]
    chosen_by: str | None = None
    names: Mapping[str, str] = {}
    cancel: str | None = None
    history: str | None = None
    listed: str | None = None
    settle: Settle = "creation"


def _service(
    path: str,
    title: str,
    words: str,
    family: Family,
    results: Mapping[str, Selector],
    *,
    verb: str = "create",
    models: tuple[str, ...] = (),
    chosen_by: str | None = None,
    cancel: bool = False,
    history: bool = False,
    listed: bool = False,
    settle: Settle = "creation",
) -> Service:
    """Return a service whose paths are the usual ones below its own."""
    return Service(
        title=title, words=words, create=f"/{path}/{verb}", status=f"/{path}/status/", models=models or (path,),
        family=family, results=results, chosen_by=chosen_by, cancel=f"/{path}/cancel/" if cancel else None,
        history=f"/{path}/history" if history else None, listed=f"/{path}/list" if listed else None, settle=settle,
    )  # fmt: skip


def _tool(
    name: str, title: str, words: str, model: str, results: Mapping[str, Selector], names: Mapping[str, str] = {}
) -> Service:
    """Return one of the media tools, whose jobs share one path of status."""
    return Service(
        title=title, words=words, create=f"/media/{name}", status="/media/status/", models=(model,),
        family=Family.LOWER, results=results, names=names,
    )  # fmt: skip


_IMAGE = {"image_url": "image"}
_VIDEO = {"video_url": "video"}
_AUDIO = {"audio_url": "audio"}

SERVICES: tuple[Service, ...] = (
    _service(
        "text-to-image", "Z-Image", "A picture from a prompt.", Family.UPPER, _IMAGE, verb="generate", history=True
    ),
    _service(
        "seedream", "Seedream 5.0", "A picture from a prompt, or from a picture and a prompt; debited when it is done.",
        Family.LOWER, _IMAGE, settle="completion",
    ),
    _service(
        "nano-banana", "Nano Banana 2", "A picture from a prompt, or from up to 14 pictures and a prompt.",
        Family.LOWER, {**_IMAGE, "image_urls": "images"},
    ),
    _service(
        "image-to-video", "Image to video", "Films a still picture with a moving camera, with music where given.",
        Family.LOWER, _VIDEO,
    ),
    _service("sora2-video", "Sora 2 from pictures", "A film from pictures.", Family.LOWER, _VIDEO, cancel=True),
    _service("sora2-text-to-video", "Sora 2", "A film from a prompt.", Family.LOWER, _VIDEO, cancel=True),
    _service(
        "sora2-character", "Sora 2 character", "A character for films, from a short film of it.",
        Family.LOWER, {"character_id": "data:character_id"}, cancel=True, listed=True,
    ),
    _service(
        "seedance-video", "Seedance 1.5 Pro", "A film from a prompt or from pictures, with sound where asked for.",
        Family.LOWER, {**_VIDEO, **_AUDIO}, cancel=True,
    ),
    _service(
        "kling-motion-control", "Kling 2.6 motion control", "The person of a picture moves as somebody in a film does.",
        Family.LOWER, _VIDEO, cancel=True,
    ),
    _service(
        "veo31-video", "Veo 3.1", "A film with sound from a prompt or from pictures.", Family.LOWER,
        {**_VIDEO, "origin_url": "named:origin_video", "resolution": "data:resolution"},
        models=("veo3_fast", "veo3"), chosen_by="model", cancel=True,
    ),
    _service(
        "text-to-music", "Suno", "Two songs from a description, or from lyrics and a style.",
        Family.UPPER, {**_AUDIO, "audio_urls": "audios"}, verb="generate", history=True,
    ),
    _service(
        "text-to-speech", "Gemini speech", "A text read aloud.", Family.UPPER_FOUR, _AUDIO, verb="generate",
        history=True,
    ),
    _service(
        "thai-subtitle", "Thai subtitles", "Draws subtitles into a film.", Family.UPPER_FOUR, _VIDEO, verb="generate"
    ),
    _service(
        "video-download", "Download", "Fetches the film or the sound of a public page.", Family.LOWER,
        {"download_url": "file"},
    ),
    _tool("merge-video", "Merge films", "Joins films one after the other.", "local/merge-videos", _VIDEO),
    _tool(
        "merge-audio-video", "Merge sound and film", "Gives a film a recording as its sound.",
        "local/merge-audio-video", _VIDEO,
    ),
    _tool("merge-audio", "Merge sound", "Joins recordings.", "local/merge-audio", _AUDIO),
    _tool("overlay-gif", "Overlay a GIF", "Lays an animated picture over a film.", "local/overlay-gif", _VIDEO),
    _tool(
        "transcribe", "Transcribe", "Writes down what is said.", "local/transcribe",
        {"text": "data:text", "language": "data:language", "segments": "data:segments"},
        {"media_url": "audio_url"},
    ),
    _tool(
        "extract-last-frame", "Last frame", "Returns the last picture of a film.", "local/extract-last-frame", _IMAGE
    ),
)  # fmt: skip

BY_MODEL: Mapping[str, Service] = {model: service for service in SERVICES for model in service.models}
"""Card → service."""
LATE_MODELS = frozenset(model for service in SERVICES if service.settle == "completion" for model in service.models)
"""Cards whose debit is shown when the job is done."""
TOOLS = tuple(service for service in SERVICES if service.create.startswith("/media/"))
"""The media tools."""
