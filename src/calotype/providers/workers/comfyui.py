"""The conversation with one ComfyUI server, without I/O (`wire/comfyui.md §2`).

Classic routes are used without the `/api` prefix. What a server says of a job is read from its queue first and from
its history then: a job moves from one to the other under one lock, so this order has no gap (§5).
"""

import contextlib
import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import FileRef, HttpRequest, HttpResponse, Parallel, Part, Steps, TransportError, Wait
from calotype.providers.workers.member import Member
from calotype.providers.workers.types import Probe

FOLDER = "gw"
PROBE_TIMEOUT_S = 2.0
ASK_TIMEOUT_S = 15.0
UPLOAD_TIMEOUT_S = 300.0
SUBMIT_TIMEOUT_S = 60.0
MAX_JSON_BYTES = 64 << 20
AT_ONCE = 8
"""Questions to a server at one time."""
CANCEL_LOOKS = 8
CANCEL_PAUSE_S = 0.5


class Accepted(Struct, frozen=True):
    """The server took the prompt; `number` is its place in the order of all it ever took since it started."""

    number: int


class Refused(Struct, frozen=True):
    """The server did not take the prompt, or only a part of it: `errors` are (node, class, input, type) and `type`."""

    type: str
    errors: tuple[tuple[str, str, str, str], ...] = ()
    details: str = ""


class Where(Struct, frozen=True):
    """Where a prompt is. `ahead` counts what waits before it; `entry` is its history."""

    place: Literal["running", "pending", "ended", "missing"]
    ahead: int = 0
    entry: dict[str, Any] = {}


class Item(Struct, frozen=True):
    """A file that a node saved."""

    filename: str
    subfolder: str = ""
    type: str = "output"

    @property
    def query(self) -> str:
        """The query of `/view`; no address of the server's own making is ever followed."""
        return urlencode({"filename": self.filename, "subfolder": self.subfolder, "type": self.type})


class ComfyUI:
    """One server: its base URL and the headers that let us in."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url = url
        self._headers = headers

    def _request(self, method: str, path: str, body: Any = None, **more: Any) -> HttpRequest:
        headers = {**self._headers, "Accept": "*/*"}
        raw = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            raw = msgspec.json.encode(body)
        more = {
            "read_timeout_s": ASK_TIMEOUT_S,
            "total_timeout_s": ASK_TIMEOUT_S * 2,
            "max_bytes": MAX_JSON_BYTES,
        } | more
        return HttpRequest(method, f"{self._url}{path}", headers, raw, **more)

    # -- how it is and what it has (§2, §6) ----------------------------------------------------------------------------

    def probe(self) -> Steps[Probe]:
        """Ask how it is: its version, its memory, and how many jobs it has in hand."""
        quick: dict[str, Any] = {
            "connect_timeout_s": PROBE_TIMEOUT_S, "read_timeout_s": PROBE_TIMEOUT_S,
            "total_timeout_s": PROBE_TIMEOUT_S * 2, "max_bytes": 1 << 20,
        }  # fmt: skip
        stats: HttpResponse = yield self._request("GET", "/system_stats", **quick)
        load: HttpResponse = yield self._request("GET", "/prompt", **quick)
        told, depth = stats.json(), _at(load.json(), "exec_info", "queue_remaining")
        if not stats.ok or not isinstance(told, dict):
            return Probe(facts={"error": f"HTTP {stats.status} from /system_stats"})
        devices = told.get("devices")
        device = devices[0] if isinstance(devices, list) and devices and isinstance(devices[0], dict) else {}
        facts = {name: _at(told, "system", name) for name in ("os", "python_version", "pytorch_version")}
        facts |= {name: device.get(name) for name in ("name", "vram_total", "vram_free")}
        version = _at(told, "system", "comfyui_version")
        vram = device.get("vram_total")
        return Probe(
            version=str(version or ""), depth=depth if isinstance(depth, int) else 0,
            vram_bytes=vram if isinstance(vram, int) else 0, facts=facts,
        )  # fmt: skip

    def has_classes(self, names: list[str]) -> Steps[dict[str, bool]]:
        """Ask which of these node classes it has."""
        found: dict[str, bool] = {}
        for some in _batches(names):
            answers = yield Parallel(tuple(self._request("GET", f"/object_info/{name}") for name in some))
            for name, answer in zip(some, answers, strict=True):
                if answer.ok and isinstance(told := answer.json(), dict):
                    found[name] = name in told
        return found

    def files_in(self, folders: list[str]) -> Steps[dict[str, frozenset[str]]]:
        """Ask which files are in these models folders; an unknown folder has none."""
        found: dict[str, frozenset[str]] = {}
        for some in _batches(folders):
            answers = yield Parallel(tuple(self._request("GET", f"/models/{folder}") for folder in some))
            for folder, answer in zip(some, answers, strict=True):
                if answer.ok and isinstance(names := answer.json(), list):
                    found[folder] = frozenset(str(name).replace("\\", "/") for name in names)
                elif answer.status == 404:
                    found[folder] = frozenset()
        return found

    # -- submit (§2, §4 T1-T3) -----------------------------------------------------------------------------------------

    def upload(self, file: FileRef, name: str, subfolder: str) -> Steps[str | Failed]:
        """Put a file among the server's inputs and return how graphs refer to it: by the name it was given there."""
        parts = (
            Part("image", file, filename=name, content_type=file.content_type),
            Part("type", "input"), Part("subfolder", subfolder), Part("overwrite", "true"),
        )  # fmt: skip
        answer: HttpResponse = yield HttpRequest(
            "POST", f"{self._url}/upload/image", self._headers, multipart=parts,
            read_timeout_s=UPLOAD_TIMEOUT_S, total_timeout_s=UPLOAD_TIMEOUT_S, max_bytes=1 << 20,
        )  # fmt: skip
        if answer.status == 413:
            return Failed(FailedKind.INVALID, "The worker does not take a file of this size.", status=413)
        told = answer.json()
        if not answer.ok or not isinstance(told, dict) or not isinstance(told.get("name"), str):
            return refused_access(answer) or Failed(
                FailedKind.RETRY, "The worker took no file.", detail=f"HTTP {answer.status} from /upload/image"
            )
        folder = str(told.get("subfolder") or "")
        return f"{folder}/{told['name']}" if folder else str(told["name"])

    def prompt(self, graph: dict[str, Any], prompt_id: str, client_id: str) -> Steps[Accepted | Refused | Failed]:
        """Put a graph into the queue. A 200 that names errors means that only a part would run: it is taken back."""
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id}
        answer: HttpResponse = yield self._request(
            "POST", "/prompt", body, commits=True, read_timeout_s=SUBMIT_TIMEOUT_S, total_timeout_s=SUBMIT_TIMEOUT_S
        )
        told = answer.json()
        if answer.ok and isinstance(told, dict) and told.get("prompt_id") == prompt_id:
            if told.get("node_errors"):
                yield from self.cancel(prompt_id)
                return _refused(told, "partly_valid")
            number = told.get("number")
            return Accepted(int(number) if isinstance(number, int | float) else 0)
        if answer.status == 400 and isinstance(told, dict):
            return _refused(told, "invalid_prompt")
        if answer.ok:  # it may run under a name of its own: what it said cannot be read
            return Failed(FailedKind.UNKNOWN, "The worker's answer could not be read.", detail="no prompt_id of ours")
        return refused_access(answer) or Failed(
            FailedKind.RETRY, "The worker did not take the job.", detail=f"HTTP {answer.status} from /prompt",
            status=answer.status,
        )  # fmt: skip

    # -- what became of it (§5) ----------------------------------------------------------------------------------------

    def where(self, prompt_id: str) -> Steps[Where | Failed]:
        """Say where a prompt is: the queue is read first, the history then."""
        answer: HttpResponse = yield self._request("GET", "/queue")
        queue = answer.json()
        if not answer.ok or not isinstance(queue, dict):
            return refused_access(answer) or _unread(answer, "/queue")
        answer = yield self._request("GET", f"/history/{prompt_id}")
        history = answer.json()
        if not answer.ok or not isinstance(history, dict):
            return _unread(answer, "/history")
        if isinstance(entry := history.get(prompt_id), dict):
            return Where("ended", entry=entry)
        if prompt_id in _ids(queue, "queue_running"):
            return Where("running")
        pending = sorted(_items(queue, "queue_pending"))  # a heap: its order on the wire means nothing
        ranks = [ident for _, ident in pending]
        if prompt_id in ranks:
            return Where("pending", ahead=ranks.index(prompt_id) + len(_ids(queue, "queue_running")))
        return Where("missing")

    def unfinished(self) -> Steps[frozenset[str] | None]:
        """Return the ids of all that runs or waits; None where that cannot be read."""
        answer: HttpResponse = yield self._request("GET", "/queue")
        queue = answer.json()
        if not answer.ok or not isinstance(queue, dict):
            return None
        return frozenset(_ids(queue, "queue_running") + _ids(queue, "queue_pending"))

    def cancel(self, prompt_id: str) -> Steps[bool]:
        """Take a prompt out of the queue or interrupt it, and only it; True when it is gone without a result.

        It may move from waiting to running between a look and a word, so both are said until it is seen no more. An
        interrupt is sent only while this very prompt runs: older servers ignore the id in it (§2). What was stopped is
        forgotten at once, for its entry holds the graph with the caller's words.
        """
        answer: HttpResponse = yield self._request("POST", f"/api/jobs/{prompt_id}/cancel", {})
        modern = answer.ok
        for look in range(CANCEL_LOOKS):
            where = yield from self.where(prompt_id)
            if isinstance(where, Failed):
                return False
            if where.place == "missing":
                return True
            if where.place == "ended":
                if _succeeded(where.entry):
                    return False
                with contextlib.suppress(TransportError):
                    yield from self.forget([prompt_id])
                return True
            if not modern and where.place == "pending":
                yield self._request("POST", "/queue", {"delete": [prompt_id]})
            elif not modern:
                yield self._request("POST", "/interrupt", {"prompt_id": prompt_id})
            if look:
                yield Wait(CANCEL_PAUSE_S)
        return False

    def fetch(self, item: Item, to: Path | None, max_bytes: int) -> Steps[HttpResponse]:
        """Stream a file into `to`, or into the answer's body; the answer's status tells whether it came."""
        request = HttpRequest(
            "GET", f"{self._url}/view?{item.query}", self._headers, read_timeout_s=60.0, total_timeout_s=600.0,
            max_bytes=max_bytes, save_to=to,
        )  # fmt: skip
        answer: HttpResponse = yield request
        return answer

    def forget(self, prompt_ids: list[str]) -> Steps[None]:
        """Delete entries of the history; the files stay, as the server has no way to delete them (§1)."""
        yield self._request("POST", "/history", {"delete": prompt_ids})


def server_of(member: Member) -> ComfyUI:
    """Return the conversation with a worker."""
    return ComfyUI(member.worker.url, member.headers)


def items_of(entry: dict[str, Any], nodes: list[str]) -> list[Item]:
    """Return what the chosen nodes saved as results.

    All lists of a node are walked, for core video stands under `images` (§4 T5); temporary files are no results.
    """
    found: list[Item] = []
    outputs = entry.get("outputs")
    for node in nodes:
        saved = outputs.get(node) if isinstance(outputs, dict) else None
        for values in saved.values() if isinstance(saved, dict) else ():
            for value in values if isinstance(values, list) else ():
                name = value.get("filename") if isinstance(value, dict) else None
                if isinstance(name, str) and name and value.get("type") == "output":
                    found.append(Item(name, str(value.get("subfolder") or ""), "output"))
    return found


def content_type_of(item: Item) -> str:
    """Return the type that a file's name claims; its bytes decide later."""
    return mimetypes.guess_type(item.filename)[0] or "application/octet-stream"


def _batches(names: list[str]) -> Iterator[list[str]]:
    return (names[n : n + AT_ONCE] for n in range(0, len(names), AT_ONCE))


def refused_access(answer: HttpResponse) -> Failed | None:
    """Return the failure of a credential that a proxy in front of the server does not take."""
    if answer.status not in (401, 403):
        return None
    return Failed(
        FailedKind.AUTH, "The worker does not accept our credential.", detail=f"HTTP {answer.status}",
        status=answer.status,
    )  # fmt: skip


def _unread(answer: HttpResponse, path: str) -> Failed:
    return Failed(FailedKind.RETRY, "The worker could not be asked.", detail=f"HTTP {answer.status} from {path}")


def _succeeded(entry: dict[str, Any]) -> bool:
    return bool(_at(entry, "status", "status_str") == "success")


def _refused(told: dict[str, Any], kind: str) -> Refused:
    error = told.get("error")
    word = str(error.get("type") or kind) if isinstance(error, dict) else kind
    details = str(error.get("details") or "") if isinstance(error, dict) else ""
    errors: list[tuple[str, str, str, str]] = []
    nodes = told.get("node_errors")
    for node, body in nodes.items() if isinstance(nodes, dict) else ():
        listed = body.get("errors") if isinstance(body, dict) else None
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict):
                name = _at(one, "extra_info", "input_name")
                errors.append((str(node), str(body.get("class_type") or ""), str(name or ""), str(one.get("type"))))
    return Refused(word, tuple(errors), details)


def _items(queue: dict[str, Any], name: str) -> list[tuple[float, str]]:
    listed = queue.get(name)
    rows = [row for row in listed if isinstance(row, list) and len(row) > 1] if isinstance(listed, list) else []
    return [(float(row[0]) if isinstance(row[0], int | float) else 0.0, str(row[1])) for row in rows]


def _ids(queue: dict[str, Any], name: str) -> list[str]:
    return [ident for _, ident in _items(queue, name)]


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
