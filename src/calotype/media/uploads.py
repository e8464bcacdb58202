"""Files that callers upload before they use them: streamed to the store with a cap, listed, fetched, expired."""

import re
from collections.abc import AsyncIterator

from msgspec import Struct

from calotype.db import Database, Sql, Tx
from calotype.db.tx import Row
from calotype.http import SpoolSink
from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.ids import FileId, new_file_id
from calotype.media.artifacts import KeepError, keep_gathered
from calotype.media.store import Store

INPUT = "input"
"""The purpose of a file that came inside a request."""
RESULT = "result"
"""The purpose of a file that holds what a job answered."""
MAX_FILENAME_CHARS = 200
MAX_PAGE = 10_001

_UPLOAD_ID = re.compile(r"file_[0-9a-f]{32}\Z")
_COLUMNS = "id, org_id, key, filename, purpose, content_type, size_bytes, sha256, created_at_ms, expires_at_ms"
_INSERT = Sql(f"""
    INSERT INTO upload ({_COLUMNS}, acl)
    VALUES (:id, :org_id, :key, :filename, :purpose, :content_type, :size_bytes, :sha256, :created_at_ms,
            :expires_at_ms, :acl)
""")  # noqa: S608  (the columns are a constant above)
_GET = Sql(f"SELECT {_COLUMNS} FROM upload WHERE id = :id AND org_id = :org_id AND expires_at_ms > :now_ms")  # noqa: S608
_PAGE = f"""
    WHERE org_id = :org_id AND expires_at_ms > :now_ms
    AND (purpose = :purpose OR :purpose = '' AND purpose NOT IN ('{INPUT}', '{RESULT}'))
"""
_NEWEST = Sql(f"SELECT {_COLUMNS} FROM upload {_PAGE} AND id < :beyond ORDER BY id DESC LIMIT :count")  # noqa: S608
_OLDEST = Sql(f"SELECT {_COLUMNS} FROM upload {_PAGE} AND id > :beyond ORDER BY id LIMIT :count")  # noqa: S608
_DELETE = Sql("DELETE FROM upload WHERE id = :id AND org_id = :org_id")


class Upload(Struct, frozen=True):
    """An uploaded file; `content_type` was read from its bytes."""

    id: FileId
    org_id: str
    key: str
    filename: str
    purpose: str
    content_type: str
    size_bytes: int
    sha256: str
    created_at_ms: int
    expires_at_ms: int


class Uploads:
    """The uploads of every organisation; another organisation's id does not exist."""

    def __init__(
        self, db: Database, store: Store, *, max_bytes: int, retention_s: int, clock: Clock | None = None
    ) -> None:
        self._db = db
        self._store = store
        self.max_bytes = max_bytes
        self._retention_s = retention_s
        self._clock = clock or SystemClock()

    async def create(
        self,
        chunks: AsyncIterator[bytes],
        *,
        org_id: str,
        filename: str,
        purpose: str = "",
        lifetime_s: int | None = None,
        file_id: str | None = None,
        acl: str | None = None,
    ) -> Upload:
        """Store a body as it streams in; a lifetime can only shorten the server's own, `acl` says who may read it.

        `file_id` is an id that was made for this file before, where its URL had to be known first.

        Raises Problem: `payload_too_large`, `invalid_input` for an empty file, `unavailable` when it cannot be kept.
        """
        spool = SpoolSink(self._store.temp_path)
        try:
            async with spool:
                async for chunk in chunks:
                    if spool.size_bytes + len(chunk) > self.max_bytes:
                        message = f"Uploads are limited to {self.max_bytes} bytes."
                        raise Problem(Code.PAYLOAD_TOO_LARGE, message, field="file")
                    await spool.write(chunk)
        except OSError:
            raise Problem(Code.UNAVAILABLE, "The media store could not write.", retry_after_s=5) from None
        file_id = FileId(file_id) if file_id is not None else new_file_id()
        try:
            stored, kept = await keep_gathered(
                spool.body, key_base=f"{org_id}/uploads/{file_id}", max_bytes=self.max_bytes, store=self._store
            )
        except KeepError as error:
            if error.reason == "empty":
                raise Problem(Code.INVALID_INPUT, "The file is empty.", field="file") from None
            raise Problem(Code.UNAVAILABLE, str(error), retry_after_s=5) from None
        now_ms = self._clock.now_ms()
        keep_s = min(lifetime_s or self._retention_s, self._retention_s)
        made = Upload(
            id=file_id,
            org_id=org_id,
            key=stored.key,
            filename=plain_filename(filename),
            purpose=purpose[:100],
            content_type=kept.facts.content_type,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
            created_at_ms=now_ms,
            expires_at_ms=now_ms + keep_s * 1000,
        )
        params = {name: getattr(made, name) for name in made.__struct_fields__} | {"acl": acl}
        await self._db.write(lambda tx: tx.execute(_INSERT, params))
        return made

    async def get(self, file_id: str, org_id: str) -> Upload | None:
        """Return an upload that has not expired."""
        params = {"id": file_id, "org_id": org_id, "now_ms": self._clock.now_ms()}
        row = await self._db.read(lambda tx: tx.row(_GET, params))
        return None if row is None else _from_row(row)

    async def list(
        self, org_id: str, *, beyond: str = "", limit: int = 100, oldest_first: bool = False, purpose: str = ""
    ) -> list[Upload]:
        """Return a page of uploads, newest first or oldest; `beyond` is the last id of the page before.

        What came inside requests or was answered (`INPUT`, `RESULT`) is only among them when asked for by that purpose.
        """
        params = {
            "org_id": org_id,
            "now_ms": self._clock.now_ms(),
            "purpose": purpose,
            "beyond": beyond or ("" if oldest_first else "file_g"),  # sorts behind every hex digit
            "count": max(1, min(limit, MAX_PAGE)),
        }
        query = _OLDEST if oldest_first else _NEWEST
        return [_from_row(row) for row in await self._db.read(lambda tx: tx.rows(query, params))]

    async def delete(self, file_id: str, org_id: str) -> bool:
        """Remove an upload, row first; a file left behind by a crash in between is found by the sweep."""
        found = await self.get(file_id, org_id)
        if found is None:
            return False

        def remove(tx: Tx) -> int:
            return tx.execute(_DELETE, {"id": file_id, "org_id": org_id})

        gone = await self._db.write(remove)
        await self._store.delete([found.key])
        return gone > 0


def is_upload_id(text: str) -> bool:
    """Say whether a text has the form of an upload's id."""
    return _UPLOAD_ID.match(text) is not None


def plain_filename(name: str) -> str:
    """Return the last part of a file name without control characters, bounded; `file` when nothing is left."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in last if char.isprintable())[:MAX_FILENAME_CHARS].strip() or "file"


def _from_row(row: Row) -> Upload:
    return Upload(FileId(row[0]), *row[1:])
