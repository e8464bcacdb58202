"""Wrong requests: a status, a detail that names the field, nothing held and nothing sent."""

from typing import Any

import httpx2
import pytest
from jobs_kit import FILM, PORTRAIT, SOUND, Emulated, JobsUser, refused

from calotype.kernel.generation import KeyClass
from calotype.kernel.ids import KeyId
from running import Account, House, running

UUID = "01a1f9fb-51fa-704e-b50f-57f37d5c9d4e"
P = {"prompt": "x"}
WRONG: list[tuple[str, Any, str]] = [
    ("/text-to-image/generate", {}, "prompt"),
    ("/text-to-image/generate", {"prompt": ""}, "prompt"),
    ("/text-to-image/generate", {"prompt": "x" * 1001}, "prompt"),
    ("/text-to-image/generate", {"prompt": 5}, "prompt"),
    ("/text-to-image/generate", P | {"aspect_ratio": "21:9"}, "aspect_ratio"),
    ("/text-to-image/generate", P | {"colour": "red"}, "colour"),
    ("/seedream/create", {"prompt": "x" * 2996}, "prompt"),
    ("/seedream/create", {"prompt": "a cat", "image_urls": [PORTRAIT, PORTRAIT]}, "image_urls"),
    ("/seedream/create", {"prompt": "a cat", "quality": "best"}, "quality"),
    ("/seedream/create", {"prompt": "a cat", "aspect_ratio": "1:4"}, "aspect_ratio"),
    ("/nano-banana/create", {"prompt": "x" * 20_001}, "prompt"),
    ("/nano-banana/create", P | {"image_input": [PORTRAIT] * 15}, "image_input"),
    ("/nano-banana/create", P | {"resolution": "8K"}, "resolution"),
    ("/nano-banana/create", P | {"output_format": "webp"}, "output_format"),
    ("/nano-banana/create", P | {"google_search": "yes"}, "google_search"),
    ("/image-to-video/create", {}, "image_url"),
    ("/image-to-video/create", {"image_url": PORTRAIT, "zoom": {"mode": "up"}}, "mode"),
    ("/image-to-video/create", {"image_url": PORTRAIT, "zoom": {"where": 1}}, "where"),
    ("/image-to-video/create", {"image_url": PORTRAIT, "image_format": "tiff"}, "image_format"),
    ("/image-to-video/create", {"image_url": PORTRAIT, "duration": 0}, "duration"),
    ("/image-to-video/create", {"image_url": "ftp://example.com/x.png"}, "image_url"),
    ("/image-to-video/create", {"image_url": "http://127.0.0.1/x.png"}, "image_url"),
    ("/sora2-video/create", P, "image_urls"),
    ("/sora2-video/create", P | {"image_urls": []}, "image_urls"),
    ("/sora2-video/create", P | {"image_urls": [PORTRAIT] * 6}, "image_urls"),
    ("/sora2-video/create", P | {"image_urls": [PORTRAIT], "n_frames": 10}, "n_frames"),
    ("/sora2-video/create", P | {"image_urls": [PORTRAIT], "aspect_ratio": "16:9"}, "aspect_ratio"),
    ("/sora2-text-to-video/create", P | {"n_frames": "5"}, "n_frames"),
    ("/sora2-text-to-video/create", P | {"aspect_ratio": "square"}, "aspect_ratio"),
    ("/sora2-text-to-video/create", P | {"remove_watermark": "no"}, "remove_watermark"),
    ("/sora2-character/create", {}, "character_file_url"),
    ("/sora2-character/create", {"character_file_url": "x", "character_prompt": "x"}, "character_file_url"),
    ("/sora2-character/create", {"character_file_url": "https://example.com/a.mp4", "safety_instruction": "x" * 5001},
     "safety_instruction"),
    ("/seedance-video/create", {"prompt": "xy"}, "prompt"),
    ("/seedance-video/create", {"prompt": "x" * 2501}, "prompt"),
    ("/seedance-video/create", {"prompt": "waves", "duration": 8}, "duration"),
    ("/seedance-video/create", {"prompt": "waves", "duration": "5"}, "duration"),
    ("/seedance-video/create", {"prompt": "waves", "input_urls": [PORTRAIT] * 3}, "input_urls"),
    ("/seedance-video/create", {"prompt": "waves", "fixed_lens": 1}, "fixed_lens"),
    ("/kling-motion-control/create", {"video_urls": [FILM]}, "input_urls"),
    ("/kling-motion-control/create", {"input_urls": [PORTRAIT]}, "video_urls"),
    ("/kling-motion-control/create", {"input_urls": [PORTRAIT] * 2, "video_urls": [FILM]}, "input_urls"),
    ("/kling-motion-control/create", {"input_urls": [PORTRAIT], "video_urls": []}, "video_urls"),
    ("/kling-motion-control/create", {"input_urls": [PORTRAIT], "video_urls": [FILM], "mode": "480p"}, "mode"),
    ("/veo31-video/create", P | {"model": "veo2"}, "model"),
    ("/veo31-video/create", P | {"model": ["veo3"]}, "model"),
    ("/veo31-video/create", P | {"seeds": 9999}, "seeds"),
    ("/veo31-video/create", P | {"seeds": 100_000}, "seeds"),
    ("/veo31-video/create", P | {"generation_type": "TEXT"}, "generation_type"),
    ("/veo31-video/create", P | {"aspect_ratio": "auto"}, "aspect_ratio"),
    ("/veo31-video/create", P | {"watermark": "x" * 51}, "watermark"),
    ("/veo31-video/create", P | {"image_urls": [PORTRAIT] * 4}, "image_urls"),
    ("/text-to-music/generate", {"prompt": "x" * 2001, "style": "lofi"}, "prompt"),
    ("/text-to-music/generate", P | {"style": "x" * 101}, "style"),
    ("/text-to-music/generate", P | {"title": "x" * 201}, "title"),
    ("/text-to-music/generate", P | {"model": "V6"}, "model"),
    ("/text-to-music/generate", P | {"vocal_gender": "x"}, "vocal_gender"),
    ("/text-to-music/generate", P | {"negative_tags": "x" * 501}, "negative_tags"),
    ("/text-to-speech/generate", {"text": "hello"}, "text"),
    ("/text-to-speech/generate", P | {"voice": "zephyr"}, "voice"),
    ("/text-to-speech/generate", P | {"language": "de"}, "language"),
    ("/text-to-speech/generate", {"prompt": "x" * 500_001}, "prompt"),
    ("/thai-subtitle/generate", {"script": "x"}, "media_url"),
    ("/thai-subtitle/generate", {"media_url": FILM, "script": "x" * 10_001}, "script"),
    ("/thai-subtitle/generate", {"media_url": FILM, "timing_offset_ms": 301}, "timing_offset_ms"),
    ("/thai-subtitle/generate", {"media_url": FILM, "animation": "bounce"}, "animation"),
    ("/media/merge-video", {"video_urls": [FILM]}, "video_urls"),
    ("/media/merge-video", {}, "video_urls"),
    ("/media/merge-audio-video", {"video_url": FILM}, "audio_url"),
    ("/media/merge-audio", {"audio_urls": SOUND}, "audio_urls"),
    ("/media/overlay-gif", {"video_url": FILM, "gif_url": PORTRAIT, "x": "left"}, "x"),
    ("/media/extract-last-frame", {"video_url": "nothing"}, "video_url"),
    ("/text-to-image/generate", P | {"webhook_url": 5}, "webhook_url"),
    ("/text-to-image/generate", P | {"webhook_url": "http://127.0.0.1/hook"}, "webhook_url"),
    ("/text-to-image/generate", P | {"allow_preview": "yes"}, "allow_preview"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "field"), WRONG)
def test_a_wrong_body_is_refused_by_the_name_of_its_field(
    user: JobsUser, account: Account, upstreams: Emulated, path: str, body: dict[str, Any], field: str
) -> None:
    detail = refused(user.post(path, body), 422, field=field)
    assert detail[0]["loc"][0] == "body" and len(detail[0]["msg"]) > 10
    account.untouched()
    assert upstreams.submits == 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [({}, "missing"), ({"prompt": "x", "y2": 1}, "extra_forbidden"), ({"prompt": "x" * 1001}, "string_too_long"),
     ({"prompt": ""}, "string_too_short"), ({"prompt": "x", "aspect_ratio": "2:1"}, "literal_error"),
     ({"prompt": 1}, "type_error")],
)  # fmt: skip
def test_a_field_is_refused_in_the_words_of_fastapi(user: JobsUser, body: dict[str, Any], kind: str) -> None:
    assert refused(user.post("/text-to-image/generate", body), 422)[0]["type"] == kind


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(user: JobsUser, account: Account, raw: bytes) -> None:
    answer = user.http.post("/text-to-image/generate", content=raw, headers={"content-type": "application/json"})
    detail = refused(answer, 422)
    assert detail[0]["loc"] == ["body"]
    account.untouched()


def test_a_form_is_not_taken_where_json_is_wanted(user: JobsUser) -> None:
    refused(user.http.post("/text-to-image/generate", data={"prompt": "x"}), 415)
    refused(user.post("/media/upload", {"file": "x"}), 415)
    refused(user.http.post("/media/upload", files={"other": ("a.png", b"x")}), 422, field="file")


def test_a_field_of_another_service_is_a_warning(user: JobsUser, upstreams: Emulated) -> None:
    answer = user.post("/text-to-image/generate", {"prompt": "a cat", "duration": "8", "quality": "high"})
    assert answer.status_code == 200
    assert len(answer.json()["warnings"]) == 2 and "x-calotype-warnings" in answer.headers
    status = user.ended("/text-to-image/status", answer.json()["job_id"])
    assert status["warnings"] == answer.json()["warnings"]
    assert upstreams.kie.submits[0].json()["input"] == {"prompt": "a cat", "aspect_ratio": "1:1"}


PATHS = [
    ("GET", "/user/credits"), ("GET", "/user/profile"), ("GET", "/user/credits/history"),
    ("POST", "/text-to-image/generate"), ("GET", f"/text-to-image/status/{UUID}"), ("GET", "/text-to-image/history"),
    ("POST", f"/veo31-video/cancel/{UUID}"), ("GET", "/sora2-character/list"), ("POST", "/media/upload"),
    ("POST", "/phaya-gpt/chat/completions"), ("GET", "/phaya-gpt/models"), ("POST", "/embedding/create"),
    ("GET", "/media/queue/stats"), ("GET", "/video-download/supported-platforms"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("key", [None, "ct_live_x_y", "nonsense"])
def test_without_a_good_key_there_is_nothing(user: JobsUser, method: str, path: str, key: str | None) -> None:
    user.http.headers.pop("authorization")
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    refused(user.http.request(method, path, headers=headers), 401)


def test_a_revoked_key_is_no_key(account: Account, jobs_house: House) -> None:
    user = JobsUser(account)
    assert user.get("/user/credits").status_code == 200
    jobs_house.ask(jobs_house.app.accounts.revoke(KeyId(user.key.split("_")[2])))
    refused(user.get("/user/credits"), 401)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/nothing", "/text-to-image", "/text-to-image/create", "/seedream/generate", "/seedream/history",
     "/seedream/callback", "/media/status", "/media/status/", "/user", "/text-to-image/status/a/b",
     "/nano-banana/cancel/" + UUID, "/queue", "/Text-To-Image/generate"],
)  # fmt: skip
def test_what_is_nobodys_is_not_found(user: JobsUser, path: str) -> None:
    for method in ("GET", "POST"):
        refused(user.http.request(method, f"{user.house.url}/api/v1{path or '/'}"), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/text-to-image/generate", "POST"), ("POST", "/user/credits", "GET"),
     ("DELETE", f"/seedream/status/{UUID}", "GET"), ("GET", f"/veo31-video/cancel/{UUID}", "POST"),
     ("PUT", "/media/upload", "POST")],
)  # fmt: skip
def test_the_wrong_method_is_told_the_right_one(user: JobsUser, method: str, path: str, allowed: str) -> None:
    answer = user.http.request(method, path)
    refused(answer, 405)
    assert answer.headers["allow"] == allowed


def test_another_tenants_job_does_not_exist(user: JobsUser, jobs_house: House, upstreams: Emulated) -> None:
    ident = user.made("/veo31-video/create", prompt="waves")
    other = JobsUser(jobs_house.account())
    refused(other.get(f"/veo31-video/status/{ident}"), 404)
    refused(other.post(f"/veo31-video/cancel/{ident}"), 404)
    for odd in (UUID, "x", "video_" + ident.replace("-", ""), "%00"):
        refused(user.get(f"/veo31-video/status/{odd}"), 404)
    assert user.get(f"/veo31-video/status/{ident}").status_code == 200


def test_sixty_requests_a_minute_and_looks_are_free(account: Account, upstreams: Emulated) -> None:
    user = JobsUser(account)
    ident = user.made("/text-to-image/generate", prompt="a cat")
    answers = [user.get("/user/credits") for _ in range(59)]
    assert {one.status_code for one in answers} == {200}
    last: httpx2.Response = user.get("/user/credits")
    while last.status_code == 200:  # a slow minute gives one back each second
        last = user.get("/user/credits")
    assert "60 requests a minute" in refused(last, 429) and int(last.headers["retry-after"]) >= 1
    refused(user.post("/text-to-image/generate", {"prompt": "x"}), 429)
    assert user.get(f"/text-to-image/status/{ident}").status_code == 200
    assert JobsUser(account).get("/user/credits").status_code == 200, "each key has its own minute"


def test_a_keys_own_rate_wins(account: Account) -> None:
    user = JobsUser(account, requests_per_minute=6)
    assert [user.get("/user/credits").status_code for _ in range(2)] == [200, 429]


def test_a_test_key_lists_nothing(account: Account) -> None:
    user = JobsUser(account, KeyClass.TEST)
    for path in ("/text-to-image/history", "/user/credits/history", "/sora2-character/list"):
        refused(user.get(path), 403)
    assert JobsUser(account, KeyClass.TEST).post("/text-to-image/generate", {"prompt": "x"}).status_code == 403


def test_phi_never_becomes_a_job(user: JobsUser, account: Account, upstreams: Emulated) -> None:
    for path, body in (("/text-to-image/generate", P), ("/image-to-video/create", {"image_url": PORTRAIT})):
        answer = user.post(path, body, X_PHI="true")
        assert answer.status_code == 403 and answer.headers["x-phi-tier"] == "phi", answer.text
    answer = user.http.post("/media/upload", files={"file": ("a.png", b"x")}, headers={"X-PHI": "true"})
    assert answer.status_code == 403
    account.untouched()
    detail = refused(user.post("/text-to-image/generate", P, X_PHI="maybe"), 422, field="X-PHI")
    assert detail[0]["loc"] == ["header", "X-PHI"] and upstreams.submits == 0


def test_a_spend_cap_and_an_allow_list_hold(account: Account, upstreams: Emulated) -> None:
    refused(JobsUser(account, spend_cap_micro=29_999).post("/text-to-image/generate", P), 403)
    refused(JobsUser(account, models=("veo3",)).post("/text-to-image/generate", P), 403)
    account.untouched()
    assert upstreams.submits == 0


def test_a_handler_that_breaks_is_answered_as_a_detail(
    user: JobsUser, jobs_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(jobs_house.app.catalog, "find", broken)
    answer = user.post("/text-to-image/generate", P)
    assert refused(answer, 500) == "The server made a mistake." and "secret" not in answer.text
    assert answer.headers["x-should-retry"] == "false"


def test_a_model_that_was_taken_away_names_its_successor(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("plain")) as plain:
        user = JobsUser(plain.account())
        assert "seedance-video" in refused(user.post("/sora2-text-to-video/create", P), 410)
        refused(user.post("/text-to-image/generate", P), 501)
        user.account.untouched()
