"""Transcription: Whisper base writes down what is said in a recording, with times."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from calotype.providers.local.extra import THREADS, engine
from calotype.providers.local.messages import BadInput, Made, ProgressCallback
from calotype.providers.local.sound import blocks_of
from calotype.providers.local.weights import folder_of
from calotype.providers.subtitles import srt, vtt

LABEL = "transcription by Whisper base"
WEIGHTS = "whisper-base"
RATE_HZ = 16_000
MAX_S = 1800.0
MAX_PROMPT_CHARS = 1000
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
GRANULARITIES = ("segment", "word")


def transcribe(
    *,
    audio: str,
    models_dir: str | None,
    language: str | None = None,
    prompt: str | None = None,
    response_format: str = "json",
    temperature: float = 0.0,
    timestamp_granularities: Sequence[str] = ("segment",),
    progress: ProgressCallback,
) -> Made:
    """Write down a recording. The answer is data: `text`, `language`, `segments`, `words` and, asked for, subtitles.

    Raises:
        BadInput: a value out of range, or a file that is not a recording.
        Unavailable: the weights or the package are not here.

    """
    if response_format not in FORMATS:
        raise BadInput("response_format", f"response_format must be one of {', '.join(FORMATS)}.")
    if any(one not in GRANULARITIES for one in timestamp_granularities):
        raise BadInput("timestamp_granularities", f"timestamp_granularities takes {' and '.join(GRANULARITIES)}.")
    if not 0 <= temperature <= 1:
        raise BadInput("temperature", "temperature must be from 0 to 1.")
    if prompt is not None and len(prompt) > MAX_PROMPT_CHARS:
        raise BadInput("prompt", f"prompt may have at most {MAX_PROMPT_CHARS} characters.")
    model = _model(str(folder_of(models_dir, WEIGHTS)))
    if language is not None and language not in model.supported_languages:
        raise BadInput("language", "language must be a code that Whisper knows, such as en, de or ja.")
    blocks = blocks_of(
        audio, "audio_url", rate_hz=RATE_HZ, channels=1, max_s=MAX_S, on_share=lambda share: progress(0.1 * share)
    )
    samples = np.concatenate([block[0] for block in blocks])
    duration_s = len(samples) / RATE_HZ
    words = "word" in timestamp_granularities
    engine("ctranslate2").set_random_seed(1)
    # quiet parts are left out first: in silence the model hears things
    segments, info = model.transcribe(
        samples, language=language, initial_prompt=prompt, temperature=float(temperature), word_timestamps=words,
        vad_filter=True, condition_on_previous_text=False,
    )  # fmt: skip
    found = []
    for segment in segments:
        found.append(segment)
        progress(0.1 + 0.9 * min(1.0, float(segment.end) / duration_s))
    return Made(
        None,
        data=_answer(found, info.language, duration_s, response_format, words=words),
        usage={"duration_ms": round(duration_s * 1000)},
    )


@lru_cache(maxsize=1)
def _model(folder: str) -> Any:
    return engine("faster_whisper").WhisperModel(
        folder, device="cpu", compute_type="int8", cpu_threads=THREADS, num_workers=1, local_files_only=True
    )


def _answer(found: list[Any], language: str, duration_s: float, shape: str, *, words: bool) -> dict[str, Any]:
    segments = [
        {
            "id": number,
            "start": round(float(one.start), 3),
            "end": round(min(float(one.end), duration_s), 3),
            "text": one.text.strip(),
            "avg_logprob": round(float(one.avg_logprob), 4),
            "no_speech_prob": round(float(one.no_speech_prob), 4),
        }
        for number, one in enumerate(found)
    ]
    answer: dict[str, Any] = {
        "text": " ".join(one["text"] for one in segments),
        "language": language,
        "duration_s": round(duration_s, 3),
        "segments": segments,
    }
    if words:
        answer["words"] = [
            {"word": word.word.strip(), "start": round(float(word.start), 3), "end": round(float(word.end), 3)}
            for one in found
            for word in one.words or ()
        ]
    if shape == "srt":
        answer["srt"] = srt(segments)
    if shape == "vtt":
        answer["vtt"] = vtt(segments)
    return answer
