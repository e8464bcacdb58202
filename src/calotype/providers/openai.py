"""OpenAI's API, and every server that speaks it: pictures, chat, embeddings, speech, transcription.

One instance is one account at one base URL. Hosts whose base URL is always the same are known by the instance's name
(`HOSTS`); others are told by `base_url` (`wire/providers.md §7, §8`, `wire/products.md A5`).
"""

from collections.abc import Callable

from yarl import URL

from calotype.kernel.clock import Clock
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome
from calotype.kernel.steps import HttpResponse, Steps
from calotype.providers.answers import immediately
from calotype.providers.base import Call, Check, Handle, MediaInputs, PollSchedule, Provider
from calotype.providers.openai_account import Account
from calotype.providers.openai_audio import speech, transcription
from calotype.providers.openai_chat import Manner, chat, token_cost
from calotype.providers.openai_embeddings import embeddings
from calotype.providers.openai_errors import MEANINGS
from calotype.providers.openai_images import images
from calotype.settings import ProviderSettings

BASE_URL = "https://api.openai.com/v1"
HOSTS: dict[str, str] = {
    "openai": BASE_URL,
    "anthropic": "https://api.anthropic.com/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "mistral": "https://api.mistral.ai/v1",
    "scaleway": "https://api.scaleway.ai/v1",
    "together": "https://api.together.xyz/v1",
}
"""Base URL by the name of the instance, where the operator sets none."""
OWN_ADDRESS: dict[str, str] = {
    "azure_openai": "https://RESOURCE.openai.azure.com/openai/v1",
    "infomaniak": "https://api.infomaniak.com/2/ai/PRODUCT_ID/openai/v1",
    "vllm": "http://HOST:8000/v1",
}
"""Instances whose base URL names something of the operator's own, which must be set."""
AZURE = ".openai.azure.com"

_MANNER = Manner(cost_of=token_cost)
_UNASKED = Manner(cost_of=token_cost, asks_usage=False)
UNASKED_HOSTS = frozenset({"api.mistral.ai"})
"""Hosts that count the tokens of a stream unasked and refuse to be asked."""
_DOES: dict[Operation, Callable[[Account, Call], Steps[Outcome]]] = {
    Operation.TEXT_TO_IMAGE: images,
    Operation.IMAGE_TO_IMAGE: images,
    Operation.CHAT: lambda account, call: chat(account, call, _manner_of(account)),
    Operation.EMBEDDINGS: lambda account, call: embeddings(account, call, token_cost),
    Operation.TEXT_TO_SPEECH: speech,
    Operation.TRANSCRIPTION: transcription,
}


class OpenAI(Provider):
    """One account at OpenAI or at a compatible server; `base_url` ends before `/images`.

    Raises:
        ValueError: the base URL is missing or cannot be used.

    """

    kind = "openai"
    media_inputs = MediaInputs.FILE
    schedule = PollSchedule()

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self.name = name
        base_url = _address(name, settings.base_url)
        known = {URL(address).host for address in HOSTS.values()}
        self._account = Account(
            name, settings, base_url, MEANINGS, clock,
            example=OWN_ADDRESS.get(name, BASE_URL), must_have_key=_host(base_url) in known,
        )  # fmt: skip
        self.base_url = self._account.base_url
        self.output_hosts = frozenset({f"{self._account.host}:{self._account.port}"})
        self.idempotency = self._account.idempotency

    def submit(self, call: Call) -> Steps[Outcome]:
        """Do what is asked; the answer is the end."""
        does = _DOES.get(call.operation)
        if does is None:
            return immediately(Failed(FailedKind.GONE, f"The provider does no {call.operation}."))
        lacking = self._account.lacking
        return immediately(lacking) if lacking is not None else does(self._account, call)

    def check(self) -> Steps[Check | None]:
        """List the models, which any valid credential may."""
        answer: HttpResponse = yield self._account.get("/models")
        return Check.of(answer.status)

    def poll(self, handle: Handle) -> Steps[Outcome]:  # noqa: ARG002  (there is nothing to ask for)
        """Never needed: this API answers at once."""
        return immediately(Failed(FailedKind.UNKNOWN, "The provider keeps no jobs that can be asked for."))

    def cancel(self, handle: Handle) -> Steps[bool]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(False)

    def lookup(self, call: Call) -> Steps[Outcome | None]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(None)


def _manner_of(account: Account) -> Manner:
    return _UNASKED if account.host in UNASKED_HOSTS else _MANNER


def _address(name: str, base_url: str | None) -> str:
    """Return the base URL; the root of an Azure resource, as its portal shows it, gets the path of the API."""
    if base_url is None:
        if name in OWN_ADDRESS:
            raise ValueError(f"providers.{name}.base_url is required, like {OWN_ADDRESS[name]}")
        return HOSTS.get(name, BASE_URL)
    root = base_url.strip().rstrip("/")
    return f"{root}/openai/v1" if root.endswith(AZURE) else base_url


def _host(base_url: str) -> str | None:
    try:
        return URL(base_url.strip()).host
    except ValueError:
        return None
