"""Google's Gemini API with a key (`wire/providers.md §3`): pictures, videos, speech, music, chat and embeddings.

Google offers no idempotency key and no look-up, so a request whose answer was lost is never sent again. The parts of
the API are modules of their own: `google_content` (pictures and speech), `google_replies` (chat), `google_predict`
(Imagen, Veo), `google_interactions` and `google_embeddings`.
"""

from collections.abc import Callable, Mapping

import msgspec

from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome
from calotype.kernel.steps import NOT_JSON, HttpResponse, Steps
from calotype.providers import google_interactions, google_predict
from calotype.providers.answers import immediately
from calotype.providers.base import Call, Check, Handle, Idempotency, MediaInputs, PollSchedule, Provider
from calotype.providers.google_content import pictures, speech
from calotype.providers.google_embeddings import embeddings
from calotype.providers.google_replies import chat
from calotype.providers.google_wire import (
    BASE_URL,
    CONTENT,
    EMBED,
    INTERACTIONS,
    LONG_RUNNING,
    PREDICT,
    VERSION,
    Line,
    Target,
)
from calotype.settings import ProviderSettings

Way = Callable[[Line, Call, Target], Steps[Outcome]]

WAYS: dict[tuple[str, Operation | None], Way] = {
    (CONTENT, Operation.TEXT_TO_IMAGE): pictures,
    (CONTENT, Operation.IMAGE_TO_IMAGE): pictures,
    (CONTENT, Operation.TEXT_TO_SPEECH): speech,
    (CONTENT, Operation.CHAT): chat,
    (EMBED, Operation.EMBEDDINGS): embeddings,
    (PREDICT, Operation.TEXT_TO_IMAGE): google_predict.imagen,
    (LONG_RUNNING, Operation.TEXT_TO_VIDEO): google_predict.veo,
    (LONG_RUNNING, Operation.IMAGE_TO_VIDEO): google_predict.veo,
    (INTERACTIONS, Operation.TEXT_TO_VIDEO): google_interactions.interact,
    (INTERACTIONS, Operation.IMAGE_TO_VIDEO): google_interactions.interact,
    (INTERACTIONS, Operation.VIDEO_TO_VIDEO): google_interactions.interact,
    (INTERACTIONS, Operation.TEXT_TO_MUSIC): google_interactions.interact,
    (INTERACTIONS, Operation.TEXT_TO_SPEECH): google_interactions.interact,
}
"""Method and operation → the conversation that does it."""


class Google(Provider):
    """One account at Google, or at a server that speaks as the Gemini API does.

    Raises:
        ValueError: the base URL cannot be used.

    """

    kind = "google"
    idempotency = Idempotency.NONE
    media_inputs = MediaInputs.DATA
    schedule = PollSchedule(first_s=10.0, factor=1.0, max_s=10.0)
    callbacks = True

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self.name = name
        self._line = Line(name, settings, clock or SystemClock())
        own = self._line.base != BASE_URL
        self.output_hosts = frozenset({self._line.host}) if own else frozenset()

    def submit(self, call: Call) -> Steps[Outcome]:
        """Run a call in the way its method and operation ask for."""
        line = self._line
        if not line.key:
            return Failed(FailedKind.AUTH, "The provider has no credential.", detail=f"{self.name}: set api_key")
        target = line.target(call.upstream_model, call.operation)
        way = WAYS.get((target.method, call.operation)) if target is not None else None
        if target is None or way is None:
            return Failed(FailedKind.GONE, "The provider has no way to do this with the model.", detail=self.name)
        return (yield from way(line, call, target))

    def poll(self, handle: Handle) -> Steps[Outcome]:
        """Look at an operation or an interaction."""
        if handle.get("kind") == google_interactions.INTERACTION:
            return google_interactions.poll(self._line, handle)
        return google_predict.veo_poll(self._line, handle)

    def cancel(self, handle: Handle) -> Steps[bool]:
        """Stop an interaction; an operation cannot be stopped (§3.6)."""
        if handle.get("kind") == google_interactions.INTERACTION:
            return google_interactions.cancel(self._line, handle)
        return immediately(False)

    def lookup(self, call: Call) -> Steps[Outcome | None]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(None)

    def callback(self, headers: Mapping[str, str], body: bytes, upstream_id: str) -> Steps[bool]:  # noqa: ARG002
        """Say whether a word names this interaction; how Google signs is not documented (§2), and the poll decides."""
        return immediately(_names(body, upstream_id))

    def check(self) -> Steps[Check | None]:
        """Ask for the list of models, which costs nothing."""
        line = self._line
        answer: HttpResponse = yield line.get(f"{line.version or VERSION}/models?pageSize=1")
        refused = not answer.ok and line.refused(answer).kind is FailedKind.AUTH
        return Check.of(401 if refused else answer.status)


def _names(body: bytes, ident: str) -> bool:
    """Say whether a JSON body holds the id as a whole value, or as the last part of a name."""
    try:
        open_values = [msgspec.json.decode(body)]
    except NOT_JSON:
        return False
    while open_values:
        value = open_values.pop()
        if isinstance(value, dict):
            open_values += value.values()
        elif isinstance(value, list):
            open_values += value
        elif isinstance(value, str) and ident and value.rpartition("/")[2] == ident:
            return True
    return False
