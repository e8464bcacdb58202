"""How calls to Azure's speech and document services are written (Microsoft's REST references for them)."""

import re
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from yarl import URL

EXAMPLE = "https://switzerlandnorth.api.cognitive.microsoft.com"
SPEECH_VERSION = "2024-11-15"
DOCUMENT_VERSION = "2024-11-30"
REGIONAL = ".api.cognitive.microsoft.com"
"""Ends the host of a region; speech is spoken at another host of that region."""
VOICE = "en-US-AvaMultilingualNeural"

FORMATS = {
    "mp3": "audio-24khz-96kbitrate-mono-mp3",
    "opus": "ogg-24khz-16bit-mono-opus",
    "wav": "riff-24khz-16bit-mono-pcm",
    "pcm": "raw-24khz-16bit-mono-pcm",
}
"""Format as clients name it → `X-Microsoft-OutputFormat`."""

LOCALES = {
    "ar": "ar-SA", "bg": "bg-BG", "ca": "ca-ES", "cs": "cs-CZ", "da": "da-DK", "de": "de-DE", "el": "el-GR",
    "en": "en-US", "es": "es-ES", "et": "et-EE", "fi": "fi-FI", "fr": "fr-FR", "he": "he-IL", "hi": "hi-IN",
    "hr": "hr-HR", "hu": "hu-HU", "id": "id-ID", "it": "it-IT", "ja": "ja-JP", "ko": "ko-KR", "lt": "lt-LT",
    "lv": "lv-LV", "nb": "nb-NO", "nl": "nl-NL", "no": "nb-NO", "pl": "pl-PL", "pt": "pt-PT", "ro": "ro-RO",
    "ru": "ru-RU", "sk": "sk-SK", "sl": "sl-SI", "sv": "sv-SE", "th": "th-TH", "tr": "tr-TR", "uk": "uk-UA",
    "vi": "vi-VN", "zh": "zh-CN",
}  # fmt: skip
"""The locale that a language alone stands for; other languages are recognised by the service itself."""


def base_of(name: str, base_url: str | None) -> URL:
    """Return the address of a resource.

    Raises:
        ValueError: there is none, or it cannot be used: each resource lies in one region, so none can be guessed.

    """
    try:
        url = URL((base_url or "").strip().rstrip("/"))
        usable = url.scheme in ("http", "https") and url.host and not url.raw_user and not url.raw_query_string
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"providers.{name}.base_url must be the resource's endpoint, such as {EXAMPLE}")
    return url


def speech_url(base: URL, path: str) -> str:
    """Return an address of text to speech: at the region's own host, or below `/tts` of a resource with its own."""
    host = base.host or ""
    if host.endswith(REGIONAL):
        return f"https://{host.removesuffix(REGIONAL)}.tts.speech.microsoft.com/cognitiveservices/{path}"
    return f"{str(base).rstrip('/')}/tts/cognitiveservices/{path}"


def ssml(fields: dict[str, Any]) -> bytes:
    """Write a text to be spoken; the voice's name begins with its locale."""
    voice = str(fields.get("voice") or VOICE)
    locale = re.match(r"[a-z]{2,3}-[A-Za-z]{2,8}", voice)
    text = escape(str(fields.get("input", "")))
    speed = fields.get("speed")
    if isinstance(speed, int | float) and speed != 1:
        text = f'<prosody rate="{speed:g}">{text}</prosody>'
    lang = quoteattr(locale[0] if locale else "en-US")
    return f'<speak version="1.0" xml:lang={lang}><voice name={quoteattr(voice)}>{text}</voice></speak>'.encode()


def as_openai(body: Any) -> Any:
    """Write a fast transcription as OpenAI writes one: seconds in place of milliseconds, one text of all channels."""
    if not isinstance(body, dict) or not isinstance(body.get("combinedPhrases"), list):
        return None
    phrases = [one for one in body.get("phrases") or () if isinstance(one, dict)]
    words = [word for one in phrases for word in one.get("words") or () if isinstance(word, dict)]
    locale = next((one["locale"] for one in phrases if isinstance(one.get("locale"), str)), None)
    length_ms = body.get("durationMilliseconds", body.get("duration"))
    texts = [str(one.get("text", "")) for one in body["combinedPhrases"] if isinstance(one, dict)]
    return {
        "text": "\n".join(texts),
        "language": locale.partition("-")[0] if locale else None,
        "duration": length_ms / 1000 if isinstance(length_ms, int | float) else None,
        "segments": [{"text": one.get("text"), **_times(one)} for one in phrases],
        "words": [{"word": one.get("text"), **_times(one)} for one in words],
    }


def pages_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pages of a read document: the text between the marks of each page, in the order of reading."""
    content = result.get("content")
    text = content if isinstance(content, str) else ""
    pages = []
    for n, page in enumerate(one for one in result.get("pages") or () if isinstance(one, dict)):
        spans = [span for span in page.get("spans") or () if isinstance(span, dict)]
        parts = [text[span.get("offset", 0) : span.get("offset", 0) + span.get("length", 0)] for span in spans]
        number = page.get("pageNumber")
        pages.append({"index": number - 1 if isinstance(number, int) else n, "markdown": "\n".join(parts)})
    return pages


def _times(one: dict[str, Any]) -> dict[str, Any]:
    start, length = one.get("offsetMilliseconds"), one.get("durationMilliseconds")
    if not isinstance(start, int | float) or not isinstance(length, int | float):
        return {}
    return {"start": start / 1000, "end": (start + length) / 1000}
