import base64
import stat
import threading

import pytest

from calotype.kernel.errors import Code, Problem
from calotype.media.secrets import KEPT, Secrets
from calotype.media.signing import Grant, Signer

OLD, NEW = b"o" * 32, b"n" * 32
NOW = 1_800_000_000_000
KEY = "org_1/0190b7c2-aaaa-7bbb-8ccc-000000000000/0.png"


def test_a_token_opens_exactly_what_was_signed_until_it_expires():
    signer = Signer([NEW])
    token = signer.sign(KEY, "image/png", NOW + 1500)
    assert signer.verify(token, NOW) == Grant(KEY, "image/png", NOW + 2000)
    assert len(token) < 200
    with pytest.raises(Problem) as caught:
        signer.verify(token, NOW + 2000)
    assert caught.value.code is Code.GONE


def test_any_changed_byte_is_refused():
    signer = Signer([NEW])
    token = signer.sign(KEY, "image/png", NOW)
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    for place in range(len(raw)):
        raw[place] ^= 1
        forged = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        with pytest.raises(Problem) as caught:
            signer.verify(forged, 0)
        assert caught.value.code is Code.NOT_FOUND
        raw[place] ^= 1


@pytest.mark.parametrize("token", ["", "x", "é", "a" * 10_000, "../../etc/passwd", "AAAA", "====", "A" * 64])
def test_nonsense_is_refused(token):
    with pytest.raises(Problem) as caught:
        Signer([NEW]).verify(token, 0)
    assert caught.value.code is Code.NOT_FOUND


def test_after_a_rotation_old_links_open_and_new_ones_use_the_new_secret():
    token = Signer([OLD]).sign(KEY, "image/png", NOW)
    assert Signer([NEW, OLD]).verify(token, 0).key == KEY
    fresh = Signer([NEW, OLD]).sign(KEY, "image/png", NOW)
    assert Signer([OLD]).read(fresh) is None
    assert Signer([NEW]).read(fresh) is not None


def test_a_path_quotes_its_name():
    assert Signer([NEW]).path(KEY, "image/png", NOW, "a b/ü.png").endswith("/a%20b%2F%C3%BC.png")


@pytest.mark.parametrize("secrets", [[], [b"short"]])
def test_weak_secrets_are_refused(secrets):
    with pytest.raises(ValueError, match="16 bytes"):
        Signer(secrets)


def test_a_secret_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    (made,) = Secrets(tmp_path).get("url_signing")
    assert len(made) == 32
    assert Secrets(tmp_path).get("url_signing") == (made,)
    assert Secrets(tmp_path).get("session") != (made,)
    for path in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_processes_that_start_at_once_agree(tmp_path):
    got: list[tuple[bytes, ...]] = []
    threads = [threading.Thread(target=lambda: got.append(Secrets(tmp_path).get("session"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 16
    assert len(set(got)) == 1


def test_a_rotation_keeps_the_last_secrets(tmp_path):
    secrets = Secrets(tmp_path)
    first = secrets.get("url_signing")[0]
    rotated = secrets.rotate("url_signing")
    assert rotated[1] == first
    assert secrets.get("url_signing") == rotated
    for _ in range(5):
        rotated = secrets.rotate("url_signing")
    assert len(rotated) == KEPT
    assert first not in rotated


def test_a_value_from_the_settings_wins_and_touches_no_file(tmp_path):
    secrets = Secrets(tmp_path, {"url_signing": "new-secret-of-mine, old-secret-of-mine", "session": None})
    assert secrets.get("url_signing") == (b"new-secret-of-mine", b"old-secret-of-mine")
    assert not (tmp_path / "secrets").exists()
    with pytest.raises(ValueError, match="set from outside"):
        secrets.rotate("url_signing")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", ".lock"])
def test_a_name_that_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="name of a secret"):
        Secrets(tmp_path).get(name)


def test_a_write_that_died_is_swept_aside(tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / ".session.new").write_bytes(b"half")
    assert len(Secrets(tmp_path).get("session")[0]) == 32
    assert sorted(path.name for path in (tmp_path / "secrets").iterdir()) == [".lock", "session"]


def test_servers_with_one_signing_secret_agree_on_all_that_callers_carry_between_them(tmp_path):
    here, there = (Secrets(tmp_path / name, {"url_signing": "a secret of them all"}) for name in ("here", "there"))
    made_before = Secrets(tmp_path / "here").get("fal_tickets")
    names = ("fingerprint", "fal_tickets", "content_jobs")
    assert all(here.get(name)[0] == there.get(name)[0] for name in names)
    assert len({here.get(name)[0] for name in names}) == len(names)
    assert here.get("fal_tickets")[1:] == made_before
    assert not (tmp_path / "there").exists()
    with pytest.raises(ValueError, match="set from outside"):
        there.rotate("content_jobs")
