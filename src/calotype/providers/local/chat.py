"""Chat with a very small language model, for trying out clients: SmolLM2 135M through llama.cpp, in this process."""

import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from calotype.kernel.outcome import Delta
from calotype.providers.local.extra import engine
from calotype.providers.local.messages import BadInput, Made, ProgressCallback, ShowCallback
from calotype.providers.local.weights import find, folder_of

LABEL = "135M test model: expect mistakes"
WEIGHTS = "smollm2-135m"
CONTEXT_TOKENS = 4096
MAX_TOKENS = 2048
DEFAULT_TOKENS = 256
MAX_MESSAGES = 200
MAX_CHARS = 32_000
MAX_STOPS = 4
ROLES = ("system", "user", "assistant")
MANNER = "You are a helpful AI assistant."
"""Said first where the conversation has no system message: with its template's own, which names its makers, the model
answers plain questions in other languages."""


def chat(
    *,
    messages: list[dict[str, Any]],
    models_dir: str | None,
    max_tokens: int = DEFAULT_TOKENS,
    temperature: float = 0.2,
    top_p: float = 1.0,
    stop: str | list[str] | None = None,
    seed: int = 0,
    progress: ProgressCallback,
    show: ShowCallback | None = None,
) -> Made:
    """Answer a conversation; the answer is data (`choices`), `usage` counts tokens. `show` gets the words as they come.

    Raises:
        BadInput: a value out of range, or a conversation that is too long.
        Unavailable: the weights or the package are not here.

    """
    if not 1 <= max_tokens <= MAX_TOKENS:
        raise BadInput("max_tokens", f"max_tokens must be from 1 to {MAX_TOKENS}.")
    if not 0 <= temperature <= 2:
        raise BadInput("temperature", "temperature must be from 0 to 2.")
    if not 0 < top_p <= 1:
        raise BadInput("top_p", "top_p must be above 0 and at most 1.")
    request = {
        "messages": _conversation(messages),
        "max_tokens": max_tokens,
        "temperature": float(temperature),
        "top_p": float(top_p),
        "stop": _stops(stop),
        "seed": seed,
        "cache_prompt": False,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    server = _server(str(folder_of(models_dir, WEIGHTS) / find(WEIGHTS).files[0].name))
    progress(0.05)
    return _made(_replies(server, request, max_tokens, progress, show))


def _conversation(messages: Any) -> list[dict[str, str]]:
    if not isinstance(messages, list) or not 1 <= len(messages) <= MAX_MESSAGES:
        raise BadInput("messages", f"messages must be a list of 1 to {MAX_MESSAGES} messages.")
    taken = []
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in ROLES:
            raise BadInput(f"messages.{number}.role", f"role must be one of {', '.join(ROLES)}.")
        if not isinstance(content, str):
            raise BadInput(f"messages.{number}.content", "content must be a text.")
        taken.append({"role": role, "content": content})
    if sum(len(one["content"]) for one in taken) > MAX_CHARS:
        raise BadInput("messages", f"messages may have at most {MAX_CHARS:,} characters in all.")
    return taken if taken[0]["role"] == "system" else [{"role": "system", "content": MANNER}, *taken]


def _stops(stop: Any) -> list[str]:
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(one, str) and one for one in stops):
        raise BadInput("stop", f"stop must be a text or a list of at most {MAX_STOPS} texts.")
    return stops


@lru_cache(maxsize=1)
def _server(path: str) -> Any:
    """Load the model. The engine wants to listen somewhere: on a socket in a private folder, which is removed."""
    xllamacpp = engine("xllamacpp")
    wanted = xllamacpp.CommonParams()
    wanted.model.path = path
    wanted.n_ctx = CONTEXT_TOKENS
    wanted.n_parallel = 1
    wanted.cache_ram_mib = 0
    # several threads wait for each other busily, which is slower wherever something else runs
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
    wanted.verbosity = 0
    wanted.offline = True
    wanted.ui = False
    folder = tempfile.mkdtemp(prefix="calotype-")
    try:
        wanted.hostnames = [str(Path(folder) / "llm.sock")]
        return xllamacpp.Server(wanted)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replies(
    server: Any, request: dict[str, Any], max_tokens: int, progress: ProgressCallback, show: ShowCallback | None
) -> list[dict[str, Any]]:
    """Let the engine answer piece by piece; return the pieces."""
    pieces: list[dict[str, Any]] = []

    def take(piece: dict[str, Any]) -> None:
        pieces.append(piece)
        if show is not None and (said := "".join(_said(piece))):
            show(Delta("chat", {"content": said}))
        progress(min(0.99, 0.1 + 0.9 * len(pieces) / max_tokens))

    last = server.handle_chat_completions(request, take)
    return [*pieces, last] if isinstance(last, dict) else pieces


def _said(piece: dict[str, Any]) -> list[str]:
    return [choice.get("delta", {}).get("content") or "" for choice in piece.get("choices") or ()]


def _made(pieces: list[dict[str, Any]]) -> Made:
    text, reason, usage = "", "stop", {"prompt_tokens": 0, "completion_tokens": 0}
    for piece in pieces:
        if error := piece.get("error"):
            if error.get("type") == "exceed_context_size_error":
                raise BadInput("messages", f"messages are too long for a context of {CONTEXT_TOKENS:,} tokens.")
            raise RuntimeError("the engine refused the request")
        usage = piece.get("usage") or usage
        text += "".join(_said(piece))
        for choice in piece.get("choices") or ():
            reason = choice.get("finish_reason") or reason
    message = {"role": "assistant", "content": text}
    return Made(
        None,
        data={"choices": [{"index": 0, "message": message, "finish_reason": reason}]},
        usage={"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]},
    )
