"""One task at the emulated KIE: what it makes and costs, and how each family's record shows it (`§5.2` to `§5.4`)."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from PIL import Image

from calotype.sandbox import media

FamilyName = Literal["jobs", "veo", "music"]
LONG_SIDE = {"1K": 1024, "2K": 2048, "4K": 4096}
ORIENTED_S = {"image": 10.0, "video": 30.0}
SONGS = 2
FLAGGED = "Your content was flagged by Website as violating content policies."
Store = Callable[[bytes, str, str], str]
"""Keeps a file (body, content type, suffix) and returns its address."""

COSTS: dict[str, float] = {
    "z-image": 0.8, "seedream/5-lite-text-to-image": 5.5, "seedream/5-lite-image-to-image": 5.5, "veo3": 160,
    "veo3_fast": 40, "veo3_lite": 20, "suno": 12, "sora-2-text-to-video": 30, "sora-2-image-to-video": 30,
    "sora-2-characters": 2,
}  # fmt: skip
"""Credits by model: published where they are, of the right size where they are not."""


class Ending(Struct, frozen=True):
    """How a task ended: what it made, or the code and text of its failure."""

    urls: tuple[str, ...] = ()
    character: str | None = None
    code: int = 200
    text: str = ""


class Task(Struct):
    """One accepted task. Times are monotonic seconds but `created_ms`, which is Unix time."""

    id: str
    family: FamilyName
    model: str
    input: dict[str, Any]
    param: str
    text: str
    words: dict[str, str]
    callback: str | None
    created_s: float
    created_ms: int
    polls: int
    nulls: int
    work_s: float
    cost: float
    looks: int = 0
    ending: Ending | None = None
    uncalled: bool = False
    """Whether KIE could not reach the callback address."""

    def look(self) -> int | None:
        """Count a look and return how many rungs it has climbed; None while the record is not there yet."""
        self.looks += 1
        if self.looks <= self.nulls and self.ending is None:
            return None
        if self.work_s:
            return 2
        return self.looks - self.nulls

    def due(self, now_s: float) -> bool:
        """Say whether it is over at this moment."""
        if self.work_s:
            return now_s - self.created_s >= self.work_s
        return self.looks - self.nulls > self.polls


def cost_of(model: str, fields: dict[str, Any]) -> float:
    """Return the credits of a call."""
    if model == "nano-banana-2":
        return {"1K": 8, "2K": 12, "4K": 18}[fields.get("resolution", "1K")]
    if model == "bytedance/seedance-1.5-pro":
        second = {"480p": 1.6, "720p": 3.5, "1080p": 7.5}[fields.get("resolution", "720p")]
        return second * int(fields.get("duration", 8)) * (2 if fields.get("generate_audio") else 1)
    if model == "kling-2.6/motion-control":
        return {"720p": 11.0, "1080p": 18.0}[fields["mode"]] * 5
    return COSTS[model]


def ending_of(task: Task, store: Store, lost: Callable[[str], bool], body_of: Callable[[str], bytes | None]) -> Ending:
    """Do the work: what the input and the words in it ask for.

    `lost` says that an address of ours has no file, `body_of` returns the file of an address where it is ours.
    """
    if "moderated" in task.words:
        return Ending(code=400, text=FLAGGED)
    if code := task.words.get("fail"):
        return Ending(code=int(code) if code.isdecimal() else 501, text=task.words.get("said", "Generation failed."))
    if any(lost(url) for url in _addresses(task.input)):
        return Ending(code=400 if task.family == "veo" else 451, text="Failed to fetch the image. Please check it.")
    if "empty" in task.words:
        return Ending()
    if task.model == "sora-2-characters":
        return Ending(character=f"char_{task.id[-12:]}")
    if task.family == "music":
        return Ending(tuple(store(media.wav(1.0 + n, f"{task.id}-{n}"), "audio/wav", "wav") for n in range(SONGS)))
    if task.model in ("z-image", "nano-banana-2") or task.model.startswith("seedream/"):
        return Ending((_picture(task, store),))
    made = [store(media.mp4(_seconds(task, body_of), name=task.id), "video/mp4", "mp4")]
    if task.family == "veo" and "origin" in task.words:
        made.append(store(media.mp4(_seconds(task, body_of), name=f"{task.id}-origin"), "video/mp4", "mp4"))
    return Ending(tuple(made))


# -- records ----------------------------------------------------------------------------------------------------------


def record(task: Task, rung: int) -> dict[str, Any]:
    """Return the record of a task as its family shows it."""
    shown = {"jobs": _job_record, "veo": _veo_record, "music": _music_record}[task.family](task, rung)
    if task.ending is not None and "uncounted" not in task.words:
        shown["creditsConsumed"] = 0 if task.ending.code != 200 else task.cost
    return shown


def _job_record(task: Task, rung: int) -> dict[str, Any]:
    ending = task.ending
    state = ("waiting", "queuing", "generating")[min(rung, 3) - 1]
    result: dict[str, Any] | None = None
    if ending is not None and ending.code == 200:
        result = {"character_id": ending.character} if ending.character else {"resultUrls": list(ending.urls)}
    failed = ending is not None and ending.code != 200
    return {
        "taskId": task.id, "model": task.model, "param": task.param,
        "state": task.words.get("state", state) if ending is None else "fail" if failed else "success",
        "resultJson": "" if result is None else msgspec.json.encode(result).decode(),
        "failCode": str(ending.code) if ending is not None and failed else "",
        "failMsg": ending.text if ending is not None and failed else "",
        "costTime": 15_000 if ending is not None else None, "createTime": task.created_ms,
        "updateTime": task.created_ms + 15_000, "completeTime": task.created_ms + 15_000 if ending else None,
    }  # fmt: skip


def _veo_record(task: Task, rung: int) -> dict[str, Any]:  # noqa: ARG001  (one flag for every rung)
    ending = task.ending
    response: dict[str, Any] | None = None
    if ending is not None and ending.code == 200:
        urls = list(ending.urls)
        origin = urls[1:] or None
        response = {
            "taskId": task.id, "resultUrls": urls[:1], "fullResultUrls": urls[:1], "originUrls": origin,
            "resolution": "1080p",
        }  # fmt: skip
    failed = ending is not None and ending.code != 200
    return {
        "taskId": task.id, "paramJson": task.param, "successFlag": 0 if ending is None else 3 if failed else 1,
        "errorCode": ending.code if ending is not None and failed else None,
        "errorMessage": ending.text if ending is not None and failed else "", "response": response,
        "createTime": _time(task), "completeTime": _time(task) if ending else None, "fallbackFlag": False,
    }  # fmt: skip


def _music_record(task: Task, rung: int) -> dict[str, Any]:
    ending, status, ready = task.ending, ("PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS")[min(rung, 3) - 1], 0
    if ending is not None and ending.code != 200:
        status = "SENSITIVE_WORD_ERROR" if ending.text == FLAGGED else "GENERATE_AUDIO_FAILED"
    elif ending is not None:
        status = "CALLBACK_EXCEPTION" if task.uncalled or "exception" in task.words else "SUCCESS"
        ready = int(task.words.get("songs", SONGS))
    failed = ending is not None and ending.code != 200
    songs = songs_of(task)[:ready]
    return {
        "taskId": task.id, "parentMusicId": "", "param": task.param, "type": "GENERATE",
        "errorCode": ending.code if ending is not None and failed else None,
        "errorMessage": ending.text if ending is not None and failed else None, "status": status,
        "response": {"taskId": task.id, "sunoData": songs} if songs else None,
    }  # fmt: skip


def songs_of(task: Task) -> list[dict[str, Any]]:
    """Return the finished songs as the record shows them."""
    urls = task.ending.urls if task.ending is not None else ()
    return [
        {
            "id": f"{task.id}-{n}", "audioUrl": url, "streamAudioUrl": url, "imageUrl": "", "prompt": "[Verse]\nla la",
            "modelName": "chirp-v4", "title": task.input.get("title", "Untitled"),
            "tags": task.input.get("style", "calm"), "createTime": _time(task), "duration": 1.0 + n,
        }
        for n, url in enumerate(urls)
    ]  # fmt: skip


# -- what is made -----------------------------------------------------------------------------------------------------


def _picture(task: Task, store: Store) -> str:
    across, _, down = str(task.input.get("aspect_ratio", "1:1")).partition(":")
    ratio = int(across) / int(down) if across.isdecimal() and down.isdecimal() else 1.0
    long = LONG_SIDE[task.input.get("resolution", "1K")]
    size = (long, round(long / ratio)) if ratio >= 1 else (round(long * ratio), long)
    picture = media.png(*size, task.id)
    if task.model == "nano-banana-2" and task.input.get("output_format", "jpg") == "jpg":
        out = io.BytesIO()
        Image.open(io.BytesIO(picture)).save(out, "JPEG")
        return store(out.getvalue(), "image/jpeg", "jpg")
    return store(picture, "image/png", "png")


def _seconds(task: Task, body_of: Callable[[str], bytes | None]) -> float:
    if task.family == "veo":
        return 8.0
    if task.model == "kling-2.6/motion-control":
        film = body_of(task.input["video_urls"][0])
        return min(_length(film) if film else 5.0, ORIENTED_S[task.input.get("character_orientation", "video")])
    return float(task.input.get("duration") or task.input.get("n_frames") or 8)


def _length(film: bytes) -> float:
    import av  # noqa: PLC0415  (heavy, and most runs make no video)

    with av.open(io.BytesIO(film), "r") as container:
        return (container.duration or 5_000_000) / 1_000_000


def _addresses(fields: dict[str, Any]) -> list[str]:
    values = [item for value in fields.values() for item in (value if isinstance(value, list) else [value])]
    return [value for value in values if isinstance(value, str) and value.startswith(("http://", "https://"))]


def _time(task: Task) -> str:
    return datetime.fromtimestamp(task.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
