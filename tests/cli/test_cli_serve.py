"""`calotype serve`: it says where it listens, ends gracefully and refuses in one sentence."""

import http.client
import json
import resource
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import urllib.request
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from served import start


def _metrics(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        return response.read().decode()


def test_a_first_start_says_where_it_listens_and_how_to_make_a_key(data_dir: Path, cli) -> None:
    with start(data_dir) as server:
        log = server.log.read_text()
        assert f"listens on {server.url}" in log
        assert "calotype keys create" in log
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=10) as response:
            assert json.load(response) == {"status": "ok"}
        made = json.loads(cli("keys", "list", "--json").stdout)
        assert made == []
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        files = next(line.split() for line in limits.splitlines() if line.startswith("Max open files"))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert int(files[3]) == min(hard, 1 << 20) or hard == resource.RLIM_INFINITY
        assert server.stop() == 0
    assert not (data_dir / "engine.json").exists()
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_answer_under_way_finish(data_dir: Path, cli, number: int) -> None:
    key = json.loads(cli("keys", "create", "--class", "unlimited", "--json").stdout)["key"]
    answers = []
    with start(data_dir) as server:
        body = json.dumps({"model": "local/sketch", "prompt": "a snowy mountain village at night", "n": 4})
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        host, port = server.url.removeprefix("http://").split(":")

        def ask() -> None:
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            connection.request("POST", "/v1/images/generations", body, headers)
            asked.set()
            response = connection.getresponse()
            answers.append((response.status, json.loads(response.read())))

        asked = threading.Event()
        caller = threading.Thread(target=ask)
        caller.start()
        asked.wait(10)
        while "calotype_http_in_flight 2.0" not in _metrics(server.url):  # the picture's, and the one that reads this
            assert caller.is_alive(), answers
        assert server.stop(number) == 0
        caller.join(10)
    assert answers[0][0] == 200
    assert len(answers[0][1]["data"]) == 4
    assert json.loads(cli("jobs", "list", "--json").stdout)[0]["state"] == "succeeded"


def test_a_second_signal_stops_at_once(data_dir: Path, cli) -> None:
    key = json.loads(cli("keys", "create", "--json").stdout)["key"]
    with start(data_dir) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as stalled:
            head = f"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            stalled.sendall(f"{head}content-length: 100\r\n\r\n{{".encode())
            while "calotype_http_in_flight 2.0" not in _metrics(server.url):
                assert server.process.poll() is None
            server.process.send_signal(signal.SIGTERM)
            while "Once more stops at once" not in server.log.read_text():
                assert server.process.poll() is None
            assert server.process.poll() is None
            assert server.stop() == 128 + signal.SIGTERM
    assert not (data_dir / "engine.json").exists()


def test_what_a_killed_server_left_behind_is_recognised(data_dir: Path, cli, tmp_path: Path) -> None:
    with start(data_dir) as server:
        server.stop(signal.SIGKILL)
        assert (data_dir / "engine.json").exists()
        done = cli("generate", "a boat", "--size", "256x256", "-o", "boat.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "boat.png").exists()


def test_a_taken_port_is_one_sentence(cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("serve", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"calotype: 127.0.0.1:{port} is taken")
    assert "Traceback" not in done.stderr


def test_a_second_server_of_the_same_directory_is_refused(data_dir: Path, cli) -> None:
    with start(data_dir) as server:
        done = cli("serve")
        assert done.returncode == 1
        assert "Another process already serves the data directory" in done.stderr
        assert "Traceback" not in done.stderr
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=10) as response:
            assert response.status == 200
        assert json.loads((data_dir / "engine.json").read_text())["url"] == server.url


def test_an_unreachable_database_is_one_sentence_without_its_password(cli) -> None:
    done = cli("serve", CALOTYPE_DATABASE_URL="postgresql://me:hidden@127.0.0.1:1/none")
    assert done.returncode == 1
    assert "The database cannot be used" in done.stderr
    assert "hidden" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_newer_database_is_refused(data_dir: Path, cli) -> None:
    import sqlite3

    cli("db", "upgrade")
    with sqlite3.connect(data_dir / "calotype.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    done = cli("serve")
    assert done.returncode == 1
    assert "newer than this program" in done.stderr
    assert "Traceback" not in done.stderr


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine's own address, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(private, hashes.SHA256())
    )
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(pem, pkcs8, plain))
    return cert, key


def test_tls_is_served_with_a_self_signed_certificate(data_dir: Path, tmp_path: Path, cli) -> None:
    cert, key = self_signed(tmp_path)
    with start(data_dir, "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(cert))
        with urllib.request.urlopen(f"{server.url}/healthz", context=context, timeout=10) as response:
            assert json.load(response) == {"status": "ok"}
        done = cli("generate", "a boat", "-o", "boat.png", "--json", cwd=tmp_path, SSL_CERT_FILE=str(cert))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "boat.png").read_bytes().startswith(b"\x89PNG")
        strange = cli("generate", "a boat", "--url", server.url, "--key", "ct_live_x", cwd=tmp_path)
        assert strange.returncode == 1
        assert "certificate is not trusted" in strange.stderr


def test_a_missing_certificate_is_one_sentence(cli) -> None:
    done = cli("serve", "--tls-cert", "/none.pem", "--tls-key", "/none.key")
    assert done.returncode == 1
    assert "/none.pem" in done.stderr
    assert "Traceback" not in done.stderr
    assert cli("serve", "--tls-cert", "/none.pem").returncode == 2


def test_the_process_is_set_up_for_serving_before_the_loop_begins(data_dir: Path) -> None:
    look = (
        "import gc, sys, uvloop\n"
        "from calotype import process\n"
        "from calotype.cli.serve import serve\n"
        "uvloop.run = lambda work: (work.close(), print(gc.get_threshold() == process.GC_THRESHOLDS,\n"
        "    sys.getswitchinterval() == process.SWITCH_S, gc.get_freeze_count() > 0))\n"
        "serve(host='127.0.0.1', port=0, data_dir=sys.argv[1], tls_cert=None, tls_key=None, fal_proxy_port=None)\n"
    )
    command = [sys.executable, "-c", look, str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "True", "True"]
