"""Where a caller finds files: signed, short-lived URLs below the address by which this server was reached."""

import time
from collections.abc import Callable

from calotype.dialects.door import Exchange
from calotype.media.artifacts import Artifact
from calotype.media.signing import Signer
from calotype.media.uploads import Upload

UrlOf = Callable[[Artifact], str]


class Addresses:
    """Makes URLs that work for at most `lifetime_s`, and never longer than their file is kept."""

    def __init__(self, signer: Signer, lifetime_s: int, public_url: str | None) -> None:
        self._signer = signer
        self._lifetime_ms = lifetime_s * 1000
        self._public_url = (public_url or "").rstrip("/")

    def base(self, x: Exchange) -> str:
        """Return where addresses in an answer begin: the public URL, or the host that the request named."""
        if self._public_url:
            return self._public_url
        return f"{x.scope.get('scheme', 'http')}://{x.headers.get(b'host', b'localhost').decode('latin-1')}"

    def url_of(self, x: Exchange) -> UrlOf:
        """Return the function that makes an artifact's URL: signed, or the upstream's own of what is not stored."""
        return self.urls(self.base(x))

    def urls(self, base: str) -> UrlOf:
        """Return the same for a base that no request names."""
        latest_ms = int(time.time() * 1000) + self._lifetime_ms

        def url_of(artifact: Artifact) -> str:
            if not artifact.stored:
                return artifact.url or ""
            expires_at_ms = min(artifact.expires_at_ms, latest_ms)
            return base + self._signer.path(artifact.key, artifact.content_type, expires_at_ms, artifact.name)

        return url_of

    def upload_url(self, x: Exchange, upload: Upload) -> str:
        """Return a signed URL of an upload."""
        expires_at_ms = min(upload.expires_at_ms, int(time.time() * 1000) + self._lifetime_ms)
        return self.base(x) + self._signer.path(upload.key, upload.content_type, expires_at_ms, upload.filename)
