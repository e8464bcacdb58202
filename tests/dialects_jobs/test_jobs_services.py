"""Every service from the request to the fetched result: its words, its result fields, its exact price."""

import http.server
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jobs_kit import FILM, PORTRAIT, SHORT_FILM, SOUND, Emulated, JobsUser, micro, serving, uri

from calotype.dialects.jobs.services import SERVICES, Family
from calotype.kernel.ids import JobId
from calotype.kernel.job import TERMINAL, JobState
from calotype.media.probe import sniff
from calotype.sandbox import media
from running import Account, House

GIF = uri("image/png", media.png(16, 16, "logo"))
STILL = {"image_url": PORTRAIT, "duration": 1}
FILMS = ("video/mp4",)
PICTURES = ("image/png", "image/jpeg")

CASES: list[tuple[str, str, dict[str, Any], str, dict[str, tuple[str, ...]], str]] = [
    ("/text-to-image/generate", "/text-to-image/status", {"prompt": "a cat"}, "COMPLETED",
     {"image_url": PICTURES}, "1"),
    ("/seedream/create", "/seedream/status", {"prompt": "a cat", "quality": "high"}, "completed",
     {"image_url": PICTURES}, "1.5"),
    ("/seedream/create", "/seedream/status", {"prompt": "at night", "image_urls": [PORTRAIT]}, "completed",
     {"image_url": PICTURES}, "1.5"),
    ("/nano-banana/create", "/nano-banana/status", {"prompt": "a cat", "image_input": []}, "completed",
     {"image_url": PICTURES, "image_urls": PICTURES}, "2"),
    ("/nano-banana/create", "/nano-banana/status", {"prompt": "a cat", "image_input": [PORTRAIT] * 2,
     "resolution": "2K", "output_format": "png"}, "completed", {"image_url": PICTURES, "image_urls": PICTURES}, "3"),
    ("/image-to-video/create", "/image-to-video/status", {**STILL, "zoom": {"mode": "pan_left"}}, "completed",
     {"video_url": FILMS}, "0.5"),
    ("/sora2-video/create", "/sora2-video/status", {"prompt": "go", "image_urls": [PORTRAIT], "n_frames": "5"},
     "completed", {"video_url": FILMS}, "8"),
    ("/sora2-text-to-video/create", "/sora2-text-to-video/status", {"prompt": "waves"}, "completed",
     {"video_url": FILMS}, "8"),
    ("/seedance-video/create", "/seedance-video/status", {"prompt": "waves", "resolution": "480p", "duration": "4"},
     "completed", {"video_url": FILMS, "audio_url": ()}, "2"),
    ("/seedance-video/create", "/seedance-video/status", {"prompt": "waves", "input_urls": [PORTRAIT],
     "resolution": "480p", "duration": "12", "generate_audio": True}, "completed", {"video_url": FILMS}, "8"),
    ("/veo31-video/create", "/veo31-video/status", {"prompt": "waves"}, "completed",
     {"video_url": FILMS, "origin_url": ()}, "15"),
    ("/veo31-video/create", "/veo31-video/status", {"prompt": "waves @origin", "model": "veo3"}, "completed",
     {"video_url": FILMS, "origin_url": FILMS}, "50"),
    ("/text-to-music/generate", "/text-to-music/status", {"prompt": "calm piano"}, "COMPLETED",
     {"audio_url": ("audio/wav",), "audio_urls": ("audio/wav",)}, "3"),
]  # fmt: skip


@pytest.mark.parametrize(("create", "status", "fields", "word", "results", "price"), CASES)
def test_a_service_makes_what_it_says_at_its_price(
    user: JobsUser, account: Account, create: str, status: str, fields: dict[str, Any], word: str,
    results: dict[str, tuple[str, ...]], price: str,
) -> None:  # fmt: skip
    before = user.balance
    ident = user.made(create, **fields)
    done = user.ended(status, ident)
    assert (done["status"], done["error"]) == (word, None)
    for name, kinds in results.items():
        found = done[name]
        if not kinds:
            assert found is None
            continue
        for url in found if isinstance(found, list) else [found]:
            assert sniff(user.fetched(url)[:4096]) in kinds, name
    assert (account.spent_micro, account.held_micro) == (micro(price), 0)
    assert before - user.balance == Decimal(price)


def test_two_songs_are_two_addresses_and_the_first_is_told_again(user: JobsUser) -> None:
    done = user.ended("/text-to-music/status", user.made("/text-to-music/generate", prompt="calm", style="lofi"))
    assert len(done["audio_urls"]) == 2 and done["audio_url"] == done["audio_urls"][0]


def test_veo_tells_its_resolution(user: JobsUser) -> None:
    done = user.ended("/veo31-video/status", user.made("/veo31-video/create", prompt="waves"))
    assert done["resolution"] == "1080p"


def test_a_character_is_an_id_and_is_listed(user: JobsUser, account: Account) -> None:
    url = "https://example.com/somebody.mp4"
    ident = user.made("/sora2-character/create", character_file_url=url)
    done = user.ended("/sora2-character/status", ident)
    assert done["status"] == "completed" and done["character_id"].startswith("char_")
    listed = user.get("/sora2-character/list").json()["items"]
    assert [(one["job_id"], one["character_id"]) for one in listed] == [(ident, done["character_id"])]
    assert account.spent_micro == micro("0.5")


def test_motion_is_debited_at_its_most_and_given_back_what_was_not_made(user: JobsUser, account: Account) -> None:
    start = user.balance
    ident = user.made(
        "/kling-motion-control/create", input_urls=[PORTRAIT], video_urls=[FILM], character_orientation="image"
    )
    done = user.ended("/kling-motion-control/status", ident)
    assert sniff(user.fetched(done["video_url"])[:4096]) == "video/mp4"
    lines = user.decimal("/user/credits/history")["transactions"]
    refund, debit = lines[:2]
    assert (debit["type"], str(debit["amount"])) == ("debit", "12.1")
    seconds = (debit["amount"] - refund["amount"]) / 1_210_000 * 1_000_000
    assert seconds in (4, 5) and refund["type"] == "refund"
    assert user.balance == start - debit["amount"] + refund["amount"] == refund["balance_after"]


def test_speech_is_read_aloud_and_priced_by_tokens(user: JobsUser, account: Account) -> None:
    ident = user.made("/text-to-speech/generate", prompt="one two three four", voice="Kore", language=None)
    done = user.ended("/text-to-speech/status", ident)
    assert done["status"] == "COMPLETED" and user.fetched(done["audio_url"]).startswith(b"RIFF")
    # 5 tokens of text at 0.50 and 40 of sound at 9 USD a million, and the margin
    assert account.spent_micro == -(-(5 * 50 + 40 * 900) * 11_000 // 1_000_000)


def test_the_voices_need_no_key(user: JobsUser, jobs_house: House) -> None:
    user.http.headers.pop("authorization")
    voices = user.get("/text-to-speech/voices").json()["voices"]
    card = jobs_house.app.catalog.find("text-to-speech")
    assert [one["name"] for one in voices] == card.schema.properties["voice"]["enum"]
    assert len(voices) == 19 and all(one["description"] for one in voices)


def test_subtitles_are_drawn_and_cost_the_least_there_is(user: JobsUser, account: Account) -> None:
    ident = user.made("/thai-subtitle/generate", media_url=SHORT_FILM, script="สวัสดี", animation="word_pop_fade")
    done = user.ended("/thai-subtitle/status", ident)
    assert done["status"] == "COMPLETED" and sniff(user.fetched(done["video_url"])[:4096]) == "video/mp4"
    assert any("word_pop_fade" in one for one in done["warnings"])
    assert account.spent_micro == micro("0.07")


TOOLS: list[tuple[str, dict[str, Any], str, str]] = [
    ("merge-video", {"video_urls": [SHORT_FILM, SHORT_FILM]}, "video_url", "video/mp4"),
    ("merge-audio-video", {"video_url": SHORT_FILM, "audio_url": SOUND}, "video_url", "video/mp4"),
    ("merge-audio", {"audio_urls": [SOUND, SOUND]}, "audio_url", "audio/mpeg"),
    ("overlay-gif", {"video_url": SHORT_FILM, "gif_url": GIF, "x": 4, "y": 4, "start": 0, "end": 1}, "video_url",
     "video/mp4"),
    ("extract-last-frame", {"video_url": SHORT_FILM}, "image_url", "image/png"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "fields", "result", "kind"), TOOLS)
def test_media_tools_share_a_status_and_cost_nothing(
    user: JobsUser, account: Account, tool: str, fields: dict[str, Any], result: str, kind: str
) -> None:
    done = user.ended("/media/status", user.made(f"/media/{tool}", **fields))
    assert done["status"] == "completed", done
    assert sniff(user.fetched(done[result])[:4096]) == kind
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_an_uploaded_file_is_an_input(user: JobsUser) -> None:
    answer = user.http.post("/media/upload", files={"file": ("film.mp4", media.mp4(1.0, name="own"))})
    assert answer.status_code == 200 and set(answer.json()) == {"url"}, answer.text
    done = user.ended("/media/status", user.made("/media/extract-last-frame", video_url=answer.json()["url"]))
    assert sniff(user.fetched(done["image_url"])[:4096]) == "image/png"


def test_a_signed_file_is_still_served_beside_the_tools(user: JobsUser) -> None:
    done = user.ended("/text-to-image/status", user.made("/text-to-image/generate", prompt="a cat"))
    assert "/v1/media/" in done["image_url"]
    below = done["image_url"].replace("/v1/media/", "/api/v1/media/")
    assert user.fetched(below) == user.fetched(done["image_url"])


def test_transcribing_names_what_is_missing(user: JobsUser, account: Account) -> None:
    answer = user.post("/media/transcribe", {"media_url": SOUND, "language": "en"})
    if answer.status_code == 200:  # the weights are on this machine
        assert user.ended("/media/status", answer.json()["job_id"])["status"] == "completed"
        return
    assert answer.status_code == 404 and "models pull whisper-base" in answer.json()["detail"]
    account.untouched()


@pytest.mark.parametrize("family", Family)
def test_a_family_has_a_word_for_every_state(family: Family) -> None:
    words = [family.word(state) for state in JobState]
    assert all(word.isupper() for word in words) or all(word.islower() for word in words)
    assert {family.word(state) for state in TERMINAL} == family.ended
    assert family.ended.isdisjoint(family.word(state) for state in JobState if state not in TERMINAL)


def test_the_families_are_those_of_the_published_table() -> None:
    families = {one.create.split("/")[1]: one.family for one in SERVICES if "/media/" not in one.create}
    upper = {name for name, family in families.items() if family is Family.UPPER}
    four = {name for name, family in families.items() if family is Family.UPPER_FOUR}
    assert upper == {"text-to-image", "text-to-music"}
    assert four == {"text-to-speech", "thai-subtitle"}
    assert [Family.UPPER.word(JobState.QUEUED), Family.UPPER_FOUR.word(JobState.QUEUED)] == ["QUEUED", "PENDING"]
    assert [Family.LOWER.word(state) for state in (JobState.QUEUED, JobState.CANCELED)] == ["processing", "cancelled"]


def test_a_job_is_looked_at_where_it_was_made_and_nowhere_else(user: JobsUser, jobs_house: House) -> None:
    ident = user.made("/text-to-image/generate", prompt="a cat")
    for path in ("/seedream/status", "/text-to-music/status", "/media/status"):
        assert user.get(f"{path}/{ident}").status_code == 404
    jobs_house.ask(jobs_house.app.engine.wait(JobId(ident), 30))
    assert user.get(f"/text-to-image/status/{ident.upper()}").status_code == 200


def test_every_service_has_a_card(jobs_house: House, upstreams: Emulated) -> None:
    for service in SERVICES:
        for model in service.models:
            card = jobs_house.app.catalog.find(model)
            assert set(service.names.values()) <= card.fields


@pytest.fixture
def site(_emulated: Emulated) -> Iterator[str]:
    """Serve two films: one of a few bytes and one of eleven megabytes."""
    film = media.mp4(1.0, name="downloaded")
    free = (11_000_000).to_bytes(4, "big") + b"free" + bytes(11_000_000 - 8)
    pages = {"/small.mp4": film, "/large.mp4": film + free}

    class Films(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("content-type", "video/mp4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Films) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


def test_a_download_costs_by_each_started_ten_megabytes(
    _emulated: Emulated, upstreams: Emulated, site: str, tmp_path: Path
) -> None:
    pytest.importorskip("yt_dlp")
    for house in serving(_emulated, tmp_path, security={"allowed_private_hosts": [site.removeprefix("http://")]}):
        for name, price in (("small", "0.5"), ("large", "1")):
            account = house.account(micro=micro("100"))
            user = JobsUser(account)
            done = user.ended("/video-download/status", user.made("/video-download/create", url=f"{site}/{name}.mp4"))
            assert done["status"] == "completed", done
            assert sniff(user.fetched(done["download_url"])[:4096]) == "video/mp4"
            assert (account.spent_micro, account.held_micro) == (micro(price), 0)
            refund, debit, _ = user.decimal("/user/credits/history")["transactions"]
            assert (debit["amount"], refund["amount"]) == (25, 25 - Decimal(price)), "500 MB are held"
        lost = user.made("/video-download/create", url=f"{site}/nothing.mp4")
        failed = user.ended("/video-download/status", lost)
        assert failed["status"] == "failed" and failed["download_url"] is None and failed["error"]
