"""Noise reduction: FFmpeg's spectral filter takes steady noise out of a recording."""

from itertools import chain

import av
import av.filter
import numpy as np
from msgspec import Struct

from calotype.providers.local.messages import BadInput, Made, ProgressCallback
from calotype.providers.local.sound import SoundWriter, blocks_of, check_format, frame_of

LABEL = "noise reduction by signal processing, not an AI model"
RATE_HZ = 48_000
MAX_S = 1800.0
DELAY = 1200
"""Samples by which the filter is late."""


class Strength(Struct, frozen=True):
    """How far the noise is lowered, and where it is assumed to lie before it was tracked, both in dB."""

    reduction_db: float
    floor_db: float


STRENGTHS: dict[str, Strength] = {
    "light": Strength(8.0, -60.0),
    "medium": Strength(16.0, -50.0),
    "strong": Strength(30.0, -40.0),
}


def denoise(
    *,
    audio: str,
    strength: str = "medium",
    response_format: str = "wav",
    progress: ProgressCallback,
) -> Made:
    """Lower the noise of a recording, block by block; it keeps its length, and becomes stereo.

    Raises:
        BadInput: a value out of range, or a file that is not a recording.

    """
    shape = check_format(response_format)
    if strength not in STRENGTHS:
        raise BadInput("strength", f"strength must be one of {', '.join(STRENGTHS)}.")
    chosen = STRENGTHS[strength]
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_abuffer(sample_rate=RATE_HZ, format="fltp", layout="stereo"),
        graph.add("afftdn", f"nr={chosen.reduction_db}:nf={chosen.floor_db}:tn=1"),
        graph.add("aformat", "sample_fmts=fltp"),
        graph.add("abuffersink"),
    ).configure()
    blocks = blocks_of(
        audio, "audio_url", rate_hz=RATE_HZ, channels=2, max_s=MAX_S, on_share=lambda share: progress(0.98 * share)
    )
    count, late = 0, DELAY
    with SoundWriter(response_format, RATE_HZ, 2, LABEL) as writer:
        for block in chain(blocks, (np.zeros((2, DELAY), np.float32),)):
            frame = frame_of(block, RATE_HZ)
            frame.pts = count
            count += block.shape[1]
            graph.push(frame)
            late = _drain(graph, writer, late)
        graph.push(None)
        _drain(graph, writer, late)
        body = writer.finish()
    duration_s = (count - DELAY) / RATE_HZ
    return Made(
        body,
        content_type=shape.content_type,
        data={"duration_s": round(duration_s, 3), "sample_rate_hz": RATE_HZ},
        usage={"duration_ms": round(duration_s * 1000)},
    )


def _drain(graph: av.filter.Graph, writer: SoundWriter, late: int) -> int:
    """Write what the filter has ready, without the first `late` samples; return how many are still to be left out."""
    while True:
        try:
            samples = graph.pull().to_ndarray().astype(np.float32, copy=False)
        except (av.BlockingIOError, av.EOFError):
            return late
        writer.write(samples[:, late:])
        late = max(0, late - samples.shape[1])
