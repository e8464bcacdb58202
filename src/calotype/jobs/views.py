"""Loads job views, many callers with one query: a thousand pollers cost one read a moment, not a thousand."""

import asyncio

from calotype.db import Database, Sql, Tx
from calotype.jobs.aside import Aside
from calotype.jobs.store import JOB_COLUMNS, JOB_FROM
from calotype.jobs.types import JobView, job_from
from calotype.kernel.ids import JobId
from calotype.media.artifacts import from_row
from calotype.media.statements import ARTIFACTS_OF_JOBS

MAX_IDS = 500

_BY_IDS = Sql(f"SELECT {JOB_COLUMNS} {JOB_FROM} WHERE j.id {{in:ids}}")


def load_views(tx: Tx, ids: list[str]) -> dict[str, JobView]:
    """Return the views of those jobs that exist, artifacts that were swept left out."""
    views = {row[0]: JobView(job_from(row)) for row in tx.rows(_BY_IDS, {"ids": ids})}
    done = [ident for ident, view in views.items() if view.job.ended]
    if done:
        for row in tx.rows(ARTIFACTS_OF_JOBS, {"job_ids": done}):
            job_id, artifact, deleted = from_row(row)
            if deleted is None:
                views[job_id].artifacts += (artifact,)
    return views


class ViewLoader:
    """Gathers the ids asked for while a read is under way and reads them together."""

    def __init__(self, db: Database, aside: Aside | None = None) -> None:
        self._db = db
        self._aside = aside
        self._waiting: dict[JobId, list[asyncio.Future[JobView | None]]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def load(self, job_id: JobId, *, whole: bool = True) -> JobView | None:
        """Return a job's view as it is stored now; None when there is no such job.

        With `whole` off a result that lies beside its row stays there: who only asks how a job stands needs none of it.
        """
        future: asyncio.Future[JobView | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, []).append(future)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        view = await future
        return view if view is None or self._aside is None or not whole else await self._aside.bring(view)

    async def _read(self) -> None:
        try:
            while self._waiting:
                ids = list(self._waiting)[:MAX_IDS]
                asked = {job_id: self._waiting.pop(job_id) for job_id in ids}
                try:
                    views = await self._db.read(lambda tx, ids=ids: load_views(tx, list(ids)))  # type: ignore[misc]
                except BaseException as error:
                    for futures in asked.values():
                        for future in futures:
                            if not future.done():
                                future.set_exception(error)
                    if not isinstance(error, Exception):
                        raise
                    continue
                for job_id, futures in asked.items():
                    for future in futures:
                        if not future.done():
                            future.set_result(views.get(job_id))
        finally:
            self._reading = None
