"""Runs one service of a Calotype server and saves what it made. Needs Python 3.11 or newer, and nothing else.

    python calotype_job.py list
    python calotype_job.py text-to-image prompt="a fox in the snow" -o fox.png
    python calotype_job.py image-to-video image_url=@photo.png duration:=5 -o film.mp4

`name=text` is a text, `name=@file` a file of this machine (it is uploaded first), `name:=json` a number, list or other
JSON. The variable CALOTYPE_KEY holds the key, CALOTYPE_URL the server where it is not the one of services.json.
The answer goes to standard output as JSON. The exit status is 0 only when the job was done.
"""

import argparse
import json
import mimetypes
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TRIES = 3
ANSWER_S = 120


class Refused(Exception):  # noqa: N818  (no fault of the program's)
    """What went wrong, in a sentence."""


def main() -> int:
    """Run the service that the arguments name."""
    table = json.loads((HERE / "services.json").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("service", help="a service's name, or list")
    parser.add_argument("fields", nargs="*", help="name=text, name=@file or name:=json")
    parser.add_argument("-o", "--output", type=Path, help="where the result is saved; further ones get a number")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two looks")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds to wait at most")
    given = parser.parse_intermixed_args()
    try:
        if given.service == "list":
            _say(sorted(table["services"]))
            return 0
        return _run(table, given)
    except Refused as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1


def _run(table: dict[str, Any], given: argparse.Namespace) -> int:
    service = table["services"].get(given.service)
    if service is None:
        raise Refused(f"There is no service {given.service}; there are {', '.join(sorted(table['services']))}.")
    server = Server(os.environ.get("CALOTYPE_URL") or table["url"], os.environ.get("CALOTYPE_KEY", ""))
    body = dict(_field(one, server) for one in given.fields)
    made = server.ask("POST", service["create"], json.dumps(body).encode(), "application/json")
    status = _ended(server, service, str(made["job_id"]), given)
    _say(status)
    if status["status"] != service["done"]:
        raise Refused(f"The job ended as {status['status']}: {status.get('error')} Nothing was charged.")
    if given.output is not None:
        _save(service, status, given.output)
    return 0


class Server:
    """The server's jobs API; the key goes nowhere else."""

    def __init__(self, url: str, key: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise Refused("CALOTYPE_URL must begin with http:// or https://.")
        if not key:
            raise Refused("Set CALOTYPE_KEY to a key of the server.")
        self._url = url.rstrip("/")
        self._key = key

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> dict[str, Any]:
        """Return what the server answers; a request whose answer was lost is sent again as the same request."""
        headers = {"Authorization": f"Bearer {self._key}", "User-Agent": "calotype-skill"}
        if body is not None:
            headers |= {"Content-Type": kind, "Idempotency-Key": str(uuid.uuid4())}
        for left in reversed(range(TRIES)):
            request = urllib.request.Request(self._url + path, body, headers, method=method)  # noqa: S310  (checked)
            try:
                with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310  (checked above)
                    found: dict[str, Any] = json.loads(answer.read())
                    return found
            except urllib.error.HTTPError as error:
                raise Refused(f"{error.code}: {error.read().decode('utf-8', 'replace')[:2000]}") from None
            except OSError as error:
                if not left:
                    raise Refused(f"The server cannot be reached: {error}") from None
                time.sleep(1)
        raise AssertionError

    def upload(self, path: Path) -> str:
        """Return the address of a file of this machine, once it is uploaded."""
        if not path.is_file():
            raise Refused(f"There is no file {path}.")
        mark = uuid.uuid4().hex
        name = path.name.replace('"', "_").replace("\r", "_").replace("\n", "_")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        about = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {kind}'
        body = f"--{mark}\r\n{about}\r\n\r\n".encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        return str(self.ask("POST", "/api/v1/media/upload", body, f"multipart/form-data; boundary={mark}")["url"])


def _field(text: str, server: Server) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Refused(f"{text} must be name=text, name=@file or name:=json.")
    if name.endswith(":"):
        try:
            return name[:-1], json.loads(value)
        except ValueError:
            raise Refused(f"What stands behind {name}= is no JSON.") from None
    return name, server.upload(Path(value[1:])) if value.startswith("@") else value


def _ended(server: Server, service: dict[str, Any], job: str, given: argparse.Namespace) -> dict[str, Any]:
    until = time.monotonic() + given.timeout
    while True:
        status = server.ask("GET", service["status"] + job)
        if status["status"] in service["ended"]:
            return status
        if time.monotonic() > until:
            raise Refused(f"The job {job} goes on; look at it with GET {service['status']}{job}.")
        time.sleep(given.every)


def _save(service: dict[str, Any], status: dict[str, Any], output: Path) -> None:
    """Save every result that is a file; the addresses are signed, so no key is sent to them."""
    addresses: list[str] = []
    for name in service["results"]:
        value = status.get(name)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) and one.startswith(("http://", "https://")) and one not in addresses:
                addresses.append(one)
    for n, address in enumerate(addresses, start=1):
        path = output if n == 1 else output.with_name(f"{output.stem}-{n}{output.suffix}")
        with urllib.request.urlopen(address, timeout=ANSWER_S) as answer:  # noqa: S310  (checked above)
            path.write_bytes(answer.read())


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
