"""Noise reduction: FFmpeg's spectral filter takes steady noise out of a recording.

The recording is gone through twice: first for its quietest half second, from which the filter learns the noise, then
block by block through the filter.
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain

import av
import av.filter
import numpy as np
from msgspec import Struct

from calotype.providers.local.messages import BadInput, Made, ProgressCallback
from calotype.providers.local.sound import Samples, SoundWriter, blocks_of, check_format, frame_of

LABEL = "noise reduction by signal processing, not an AI model"
RATE_HZ = 48_000
MAX_S = 1800.0
DELAY = 1200
"""Samples by which the filter is late."""
REDUCTIONS_DB = {"light": 8, "medium": 16, "strong": 30}

QUIET = RATE_HZ // 2
SILENT = 1e-9
"""Mean square of a passage without even noise, such as a cut: nothing can be learnt from it."""
CONTRAST = 2.0
"""How much weaker the quietest passage must be than the whole; else it is not noise but the recording itself."""
ABOVE_DB = 4.0
"""How far above the passage's level the filter takes what it hears for noise; measured on white, pink and hum."""
LEARNT_TIMES = 4
BLOCK = 1024


class Noise(Struct, frozen=True):
    """The quietest passage of a recording and its level in dB below full scale."""

    passage: Samples
    level_db: float


def denoise(
    *,
    audio: str,
    strength: str = "medium",
    response_format: str = "wav",
    progress: ProgressCallback,
) -> Made:
    """Lower the noise of a recording; it keeps its length, and becomes stereo.

    Raises:
        BadInput: a value out of range, or a file that is not a recording.

    """
    shape = check_format(response_format)
    if strength not in REDUCTIONS_DB:
        raise BadInput("strength", f"strength must be one of {', '.join(REDUCTIONS_DB)}.")
    read = partial(blocks_of, audio, "audio_url", rate_hz=RATE_HZ, channels=2, max_s=MAX_S)
    noise = _quietest(read(on_share=lambda share: progress(0.2 * share)))
    count = 0
    with SoundWriter(response_format, RATE_HZ, 2, LABEL) as writer:
        for block in _filtered(read(on_share=lambda share: progress(0.2 + 0.78 * share)), noise, strength):
            writer.write(block)
            count += block.shape[1]
        body = writer.finish()
    duration_s = count / RATE_HZ
    return Made(
        body,
        warnings=() if noise else ("no passage with noise alone was found; the noise was guessed",),
        content_type=shape.content_type,
        data={"duration_s": round(duration_s, 3), "sample_rate_hz": RATE_HZ},
        usage={"duration_ms": round(duration_s * 1000)},
    )


def _quietest(blocks: Iterator[Samples]) -> Noise | None:
    """Return the quietest half second, where it stands out from the whole."""
    waiting = np.zeros((2, 0), np.float32)
    best: Samples | None = None
    least, total, count = np.inf, 0.0, 0
    for block in blocks:
        waiting = np.concatenate([waiting, block], axis=1)
        while waiting.shape[1] >= QUIET:
            passage = waiting[:, :QUIET]
            power = float((passage.astype(np.float64) ** 2).mean())
            # half a passage further, so that a pause is not missed
            waiting = waiting[:, QUIET // 2 :]
            total, count = total + power, count + 1
            if SILENT < power < least:
                least, best = power, passage
    if best is None or total / count < CONTRAST * least:
        return None
    return Noise(best.copy(), float(10 * np.log10(least)))


def _filtered(blocks: Iterator[Samples], noise: Noise | None, strength: str) -> Iterator[Samples]:
    """Yield the recording without its noise, as long as it came and not late."""
    floor_db = -50.0 if noise is None else min(max(noise.level_db + ABOVE_DB, -80.0), -20.0)
    tracked = 1 if noise is None else 0
    graph = av.filter.Graph()
    cleaner = graph.add("afftdn", f"nr={REDUCTIONS_DB[strength]}:nf={floor_db:.1f}:tn={tracked}")
    source = graph.add_abuffer(sample_rate=RATE_HZ, format="fltp", layout="stereo")
    graph.link_nodes(source, cleaner, graph.add("aformat", "sample_fmts=fltp"), graph.add("abuffersink")).configure()
    at, late = 0, DELAY
    if noise is not None:
        cleaner.process_command("sn", "start")
        for _ in range(LEARNT_TIMES):
            at = _push(graph, noise.passage, at)
            # the filter works only when it is asked for what it has
            late -= sum(ready.shape[1] for ready in _ready(graph))
        cleaner.process_command("sn", "stop")
        late += at
    for block in chain(blocks, (np.zeros((2, DELAY), np.float32),)):
        at = _push(graph, block, at)
        for ready in _ready(graph):
            yield ready[:, late:]
            late = max(0, late - ready.shape[1])
    graph.push(None)
    for ready in _ready(graph):
        yield ready[:, late:]
        late = max(0, late - ready.shape[1])


def _push(graph: av.filter.Graph, samples: Samples, at: int) -> int:
    """Give samples to the filter in small blocks; return the position behind them."""
    for start in range(0, samples.shape[1], BLOCK):
        frame = frame_of(samples[:, start : start + BLOCK], RATE_HZ)
        frame.pts = at
        at += frame.samples
        graph.push(frame)
    return at


def _ready(graph: av.filter.Graph) -> Iterator[Samples]:
    while True:
        try:
            yield graph.pull().to_ndarray().astype(np.float32, copy=False)
        except (av.BlockingIOError, av.EOFError):
            return
