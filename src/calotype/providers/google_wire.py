"""One account at Google: its addresses, its key and how requests are made (`wire/providers.md §3.1`).

An upstream model is written `[version/]model[:method]`, such as `gemini-2.5-flash-image` or
`v1/lyria-3.5:interactions`. Without a method the operation and the model's family decide. A model with slashes is a
path of its own, as the enterprise platform has them (`v1/publishers/google/models/veo-3.1-generate-001`).
"""

import re
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from calotype.kernel.clock import Clock
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Output
from calotype.kernel.steps import HttpRequest, HttpResponse
from calotype.providers.answers import retry_after_s
from calotype.providers.google_errors import refusal, said
from calotype.settings import ProviderSettings

BASE_URL = "https://generativelanguage.googleapis.com"
VERSION = "v1beta"
REVISION = "2026-05-20"
"""The shape of Interactions answers that is read here (`steps`), as a header that older versions of the API want."""
POLL_TIMEOUT_S = 15.0
MAX_ANSWER_BYTES = 96 * 1024 * 1024

CONTENT, PREDICT, LONG_RUNNING, INTERACTIONS = "generateContent", "predict", "predictLongRunning", "interactions"
EMBED = "batchEmbedContents"
METHODS = frozenset({CONTENT, PREDICT, LONG_RUNNING, INTERACTIONS, EMBED})
FAMILIES: dict[Operation, tuple[tuple[str, str], ...]] = {
    Operation.TEXT_TO_IMAGE: (("imagen", PREDICT), ("", CONTENT)),
    Operation.IMAGE_TO_IMAGE: (("", CONTENT),),
    Operation.TEXT_TO_VIDEO: (("veo", LONG_RUNNING), ("", INTERACTIONS)),
    Operation.IMAGE_TO_VIDEO: (("veo", LONG_RUNNING), ("", INTERACTIONS)),
    Operation.VIDEO_TO_VIDEO: (("", INTERACTIONS),),
    Operation.TEXT_TO_SPEECH: (("", CONTENT),),
    Operation.TEXT_TO_MUSIC: (("", INTERACTIONS),),
    Operation.CHAT: (("", CONTENT),),
    Operation.EMBEDDINGS: (("", EMBED),),
}
"""Operation → the method of each family of models, by how its names begin."""

_UPSTREAM = re.compile(r"(?:(v\d[a-z0-9]*)/)?([\w./-]+?)(?::(\w+))?")
_FILE = re.compile(r"/files/([a-z0-9-]+)(?::download)?\Z")


class Target(Struct, frozen=True):
    """Where a call goes: API version, the model's own name, its path below the version, and the method."""

    version: str
    model: str
    path: str
    method: str


class Line:
    """Makes requests to the configured origin and nowhere else; the key goes there only.

    Raises:
        ValueError: the base URL cannot be used.

    """

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock) -> None:
        self.name = name
        self.base, self.version, self.host = _base(name, settings.base_url or BASE_URL)
        self.key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
        self.clock = clock
        self._settings = settings

    def target(self, upstream: str, operation: Operation) -> Target | None:
        """Read an upstream model; None for one that this API has no way to run."""
        found = _UPSTREAM.fullmatch(upstream)
        if found is None or ".." in upstream:
            return None
        version, path, method = found.groups()
        model = path.rpartition("/")[2]
        if method is None:
            family = FAMILIES.get(operation, ())
            method = next((way for prefix, way in family if model.startswith(prefix)), None)
        if method not in METHODS:
            return None
        return Target(version or self.version or VERSION, model, path if "/" in path else f"models/{path}", method)

    def call(self, target: Target, method: str, body: Any, *, outputs: int = 1, query: str = "") -> HttpRequest:
        """Make the request that costs money."""
        return self.post(f"{target.version}/{target.path}:{method}{query}", body, commits=True, outputs=outputs)

    def post(
        self, path: str, body: Any, headers: dict[str, str] | None = None, *, commits: bool = False, outputs: int = 1
    ) -> HttpRequest:
        """Make a POST of JSON."""
        timeout_s = self._settings.read_timeout_s if commits else POLL_TIMEOUT_S
        return HttpRequest(
            "POST",
            f"{self.base}/{path}",
            headers={**self.authorized, "Content-Type": "application/json", **(headers or {})},
            body=msgspec.json.encode(body),
            commits=commits,
            connect_timeout_s=self._settings.connect_timeout_s,
            read_timeout_s=timeout_s,
            total_timeout_s=timeout_s + 120.0,
            max_bytes=MAX_ANSWER_BYTES * max(1, outputs),
        )

    def get(self, path: str, headers: dict[str, str] | None = None) -> HttpRequest:
        """Make a GET, as polls are."""
        return HttpRequest(
            "GET", f"{self.base}/{path}", {**self.authorized, **(headers or {})}, read_timeout_s=POLL_TIMEOUT_S,
            connect_timeout_s=self._settings.connect_timeout_s, total_timeout_s=120.0, max_bytes=MAX_ANSWER_BYTES,
        )  # fmt: skip

    @property
    def authorized(self) -> dict[str, str]:
        """The headers of every request; the key is never put into an address, where logs would keep it (§3.1)."""
        return {"x-goog-api-key": self.key, "Accept": "application/json"}

    def refused(self, answer: HttpResponse, prose: tuple[str, ...] = (), *, quiet: bool = False) -> Failed:
        """Return what an answer that is not a 2xx means."""
        failed = refusal(answer, (self.key, *prose), quiet=quiet)
        wait_s = failed.retry_after_s if failed.retry_after_s is not None else retry_after_s(answer, self.clock)
        return replace(failed, retry_after_s=wait_s)

    def waiting(self, answer: HttpResponse) -> Failed:
        """Return what a poll that told nothing means: only the account's trouble and an unknown name are ends.

        That a name is unknown is Google's own word; a redirect, or the page of something on the way, says nothing.
        """
        refused = self.refused(answer)
        gone = answer.status in (404, 410) and said(answer).error is not None
        if refused.kind in (FailedKind.AUTH, FailedKind.QUOTA) or (refused.kind is FailedKind.GONE and gone):
            return refused
        return replace(refused, kind=FailedKind.RETRY, message="The provider could not be asked.")

    def fetched(self, url: str, content_type: str | None) -> Output | None:
        """Return the output behind an address; the key goes along to the configured origin only (§10.6).

        A file of Google's own host is fetched through the configured origin, as Google's client does (§3.6).
        """
        try:
            parsed = URL(url)
            own = URL(self.base)
            file = _FILE.search(parsed.path)
            if parsed.origin() != own.origin() and parsed.host == URL(BASE_URL).host and file:
                url = f"{self.base}/{self.version or VERSION}/files/{file[1]}:download?alt=media"
                parsed = URL(url)
            ours = parsed.origin() == own.origin()
        except ValueError:
            return None
        if parsed.scheme not in ("http", "https"):
            return None
        return Output(url=url, content_type=content_type, url_headers={"x-goog-api-key": self.key} if ours else {})


def _base(name: str, base_url: str) -> tuple[str, str | None, str]:
    """Return the base without its version, the version if it names one, and host and port."""
    try:
        url = URL(base_url.strip().rstrip("/"))
        host, port = url.host, url.port
    except ValueError:
        host = port = None
    if not host or not port or url.scheme not in ("http", "https") or url.raw_user or url.raw_query_string:
        raise ValueError(f"providers.{name}.base_url must be like {BASE_URL}, without a user name or a query")
    head, _, last = str(url).rstrip("/").rpartition("/")
    if re.fullmatch(r"v\d[a-z0-9]*", last):
        return head, last, f"{host}:{port}"
    return str(url).rstrip("/"), None, f"{host}:{port}"
