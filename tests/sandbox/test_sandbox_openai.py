"""The emulated OpenAI images API, driven by the official package and by our own provider."""

import base64
import io
from collections.abc import Iterator

import openai
import pytest
from PIL import Image
from pydantic import SecretStr

from calotype.http import Upstream
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Succeeded
from calotype.providers.base import Call
from calotype.providers.driver import Driven
from calotype.providers.openai import OpenAI
from calotype.sandbox import media
from calotype.sandbox.openai_images import OpenAIImages
from calotype.sandbox.serve import on_a_thread
from calotype.settings import ProviderSettings


@pytest.fixture(scope="module")
def _emulator() -> Iterator[OpenAIImages]:
    emulator = OpenAIImages()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def emulator(_emulator: OpenAIImages) -> OpenAIImages:
    _emulator.reset()
    return _emulator


@pytest.fixture
def client(emulator: OpenAIImages) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{emulator.url}/v1", api_key="sk-sandbox", max_retries=0)


def test_the_official_client_makes_and_edits_pictures(client: openai.OpenAI, emulator: OpenAIImages) -> None:
    made = client.images.generate(model="gpt-image-2", prompt="a lighthouse", n=2, size="512x256")  # type: ignore[call-overload]
    assert len(made.data) == 2 and made.usage.output_tokens == 3_600
    picture = base64.b64decode(made.data[0].b64_json)
    assert Image.open(io.BytesIO(picture)).size == (512, 256)
    edited = client.images.edit(model="gpt-image-2", prompt="at night", image=[("a.png", picture), ("b.png", picture)])
    assert edited.usage is not None and edited.usage.input_tokens_details.image_tokens == 600
    assert [model.id for model in client.models.list()] == ["gpt-image-2", "gpt-image-2-mini"]
    assert len(emulator.submits) == len(emulator.done) == 2


def test_the_same_key_is_answered_again_and_billed_once(client: openai.OpenAI, emulator: OpenAIImages) -> None:
    for _ in range(2):
        client.images.generate(model="gpt-image-2", prompt="x", extra_headers={"Idempotency-Key": "k"})
    assert (len(emulator.submits), len(emulator.done)) == (2, 1)


async def asked(emulator: OpenAIImages, prompt: str, key: str = "sk-sandbox", model: str = "gpt-image-2") -> Outcome:
    settings = ProviderSettings(api_key=SecretStr(key), base_url=f"{emulator.url}/v1")
    runtime = Driven([OpenAI("openai", settings)], Upstream("openai"), max_in_progress=1)

    async def on_commit() -> None:
        return None

    try:
        call = Call("job", 1, "token", Operation.TEXT_TO_IMAGE, model, {"prompt": prompt, "size": "64x64"})
        return await runtime.submit(call, on_commit, lambda _: None)
    finally:
        await runtime.close()


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("@moderated", FailedKind.MODERATED),
        ("@code=content_policy_violation", FailedKind.MODERATED),
        ("@code=insufficient_quota", FailedKind.QUOTA),
        ("@code=billing_hard_limit_reached", FailedKind.QUOTA),
        ("@code=rate_limit_exceeded", FailedKind.RETRY),
        ("@status=503", FailedKind.RETRY),
        ("@status=400", FailedKind.INVALID),
        ("@cut=after", FailedKind.UNKNOWN),
        ("@garbage", FailedKind.UNKNOWN),
    ],
)
async def test_our_provider_reads_every_refusal(emulator: OpenAIImages, prompt: str, kind: FailedKind) -> None:
    outcome = await asked(emulator, prompt)
    assert isinstance(outcome, Failed) and outcome.kind is kind


async def test_our_provider_reads_keys_models_and_addresses(emulator: OpenAIImages) -> None:
    refused = [await asked(emulator, "x", "sk-unknown"), await asked(emulator, "x", "sk-empty")]
    refused.append(await asked(emulator, "x", model="dall-e-9"))
    kinds = [one.kind for one in refused if isinstance(one, Failed)]
    assert kinds == [FailedKind.AUTH, FailedKind.QUOTA, FailedKind.GONE]
    by_url = await asked(emulator, "@url")
    assert isinstance(by_url, Succeeded) and by_url.outputs[0].url is not None
    assert emulator.files[by_url.outputs[0].url.rpartition("/")[2]] == media.png(
        64, 64, next(iter(emulator.done)) + "-0"
    )
