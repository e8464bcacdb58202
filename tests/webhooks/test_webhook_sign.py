"""Signatures follow Standard Webhooks, tenants cannot sign for each other, and secrets can be rotated."""

import base64
import hashlib
import hmac
import time

import openai
import pytest

from calotype.webhooks.sign import BadSignature, WebhookSigner, sign, verify

NEW, OLD = b"n" * 32, b"o" * 32
BODY = b'{"id":"evt_1","type":"job.succeeded"}'


def test_the_standards_own_example_comes_out() -> None:
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
        b'{"test": 2432232314}',
    )  # fmt: skip
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_openai_client_takes_our_signature_and_no_other() -> None:
    signer, now = WebhookSigner([NEW]), int(time.time())
    headers = signer.headers("org-a", "evt_1", now, BODY)
    webhooks = openai.OpenAI(api_key="x").webhooks
    webhooks.verify_signature(BODY, headers, secret=signer.secret_of("org-a"))
    assert webhooks.unwrap(BODY, headers, secret=signer.secret_of("org-a")).id == "evt_1"
    for body, secret in ((BODY + b" ", signer.secret_of("org-a")), (BODY, signer.secret_of("org-b"))):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            webhooks.verify_signature(body, headers, secret=secret)


def test_the_key_is_the_base64_behind_the_prefix() -> None:
    signer = WebhookSigner([NEW])
    prefix, _, text = signer.secret_of("org-a").partition("_")
    key = base64.b64decode(text, validate=True)
    assert (prefix, len(key)) == ("whsec", 32)
    mac = hmac.new(key, b"evt_1.1700000000." + BODY, hashlib.sha256).digest()
    expected = {
        "webhook-id": "evt_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }
    assert signer.headers("org-a", "evt_1", 1_700_000_000, BODY) == expected


def test_each_organisation_has_a_secret_of_its_own_that_stays() -> None:
    signer = WebhookSigner([NEW])
    assert signer.secret_of("org-a") != signer.secret_of("org-b")
    assert signer.secret_of("org-a") == WebhookSigner([NEW, OLD]).secret_of("org-a")
    assert NEW not in base64.b64decode(signer.secret_of("org-a").removeprefix("whsec_"))


def test_while_a_secret_is_rotated_old_and_new_receivers_both_verify() -> None:
    rotated = WebhookSigner([NEW, OLD])
    headers = rotated.headers("org-a", "evt_1", 1000, BODY)
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in rotated.secrets_of("org-a"):
        assert verify([secret], headers, BODY, now_s=1000) == "evt_1"
    assert verify(rotated.secrets_of("org-a"), WebhookSigner([OLD]).headers("org-a", "e", 1000, BODY), BODY, now_s=1000)
    with pytest.raises(BadSignature):
        verify([WebhookSigner([b"x" * 32]).secret_of("org-a")], headers, BODY, now_s=1000)


@pytest.mark.parametrize("shift_s", [-301, 301])
def test_a_webhook_outside_the_tolerance_is_refused(shift_s: int) -> None:
    signer = WebhookSigner([NEW])
    headers = signer.headers("org-a", "evt_1", 1000, BODY)
    with pytest.raises(BadSignature, match="too far"):
        verify(signer.secrets_of("org-a"), headers, BODY, now_s=1000 + shift_s)
    assert verify(signer.secrets_of("org-a"), headers, BODY, now_s=1000 + shift_s - shift_s // 301)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_2"}, {"webhook-timestamp": "1001"}, {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "²"}, {"webhook-signature": ""}, {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,%%%"}, {"webhook-signature": "v1a,AAAA"}, {"webhook-signature": "v1,AAAA v1,BBBB"},
        {"webhook-id": None}, {"webhook-timestamp": None}, {"webhook-signature": None},
    ],
)  # fmt: skip
def test_changed_or_missing_headers_are_refused(change: dict[str, str | None]) -> None:
    signer = WebhookSigner([NEW])
    changed = signer.headers("org-a", "evt_1", 1000, BODY) | change
    headers = {name: value for name, value in changed.items() if value is not None}
    with pytest.raises(BadSignature):
        verify(signer.secrets_of("org-a"), headers, BODY, now_s=1000)


def test_a_short_server_secret_is_refused() -> None:
    for secrets in ([], [b"short"]):
        with pytest.raises(ValueError, match="16 bytes"):
            WebhookSigner(secrets)
