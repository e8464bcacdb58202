"""Runs a transcript's command with the real curl, in bash, and holds what came back against what is expected."""

import asyncio
import base64
import json
import os
import subprocess
import uuid
from pathlib import Path

from transcript_blocks import Block
from transcript_match import Found, Matcher, MismatchError

from calotype.db import Sql
from calotype.kernel.ids import JobId
from calotype.kernel.job import JobState
from running import House

_STATE = Sql("SELECT state FROM job WHERE id = :id")
_CURLRC = 'silent\nshow-error\nmax-time = 60\ndump-header = "{}"\n'
"""What a terminal shows beside the body is not part of the commands."""


class Answer:
    """What curl was told: the last head, and the body that it wrote to its output."""

    def __init__(self, head: str, body: bytes) -> None:
        blocks = [block for block in head.replace("\r\n", "\n").split("\n\n") if block.strip()]
        status, *headers = blocks[-1].splitlines()
        self.status = int(status.split()[1])
        pairs = (one.partition(":") for one in headers)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self.body = body


class Session:
    """A page under way: its variables, and a folder of its own."""

    def __init__(self, house: House, folder: Path, variables: Found) -> None:
        self.house = house
        self.folder = folder
        self.known = variables
        self.heads = folder / "heads"
        (folder / ".curlrc").write_text(_CURLRC.format(self.heads))

    def hold(self, block: Block) -> None:
        """Run a block and compare.

        Raises:
            MismatchError: the answer is not the one that is written down.

        """
        word, _, name = block.awaited.partition("=")
        if word == "after":
            self.house.ask(self.house.app.engine.wait(job_of(self.known[name]), 60))
        elif word == "begun":
            self.house.ask(_begun(self.house, job_of(self.known[name])))
        answer = self.run(block.command)
        told = "\n".join(f"{one}: {value}" for one, value in answer.headers.items())
        try:
            self._compare(block, answer)
        except MismatchError as difference:
            text = answer.body[:3000].decode(errors="replace")
            raise MismatchError(
                f"{difference}\n\n{self._shown(block.command)}\n{answer.status}\n{told}\n\n{text}"
            ) from None

    def run(self, command: str) -> Answer:
        """Return what the last call of a command answered."""
        self.heads.unlink(missing_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], check=False, capture_output=True, timeout=120,
            cwd=self.folder,
            env=kept | self.known | {"CURL_HOME": str(self.folder), "HOME": str(self.folder), "LANG": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr.decode()}\n{self._shown(command)}"
        return Answer(self.heads.read_text(encoding="latin-1"), done.stdout)

    def _compare(self, block: Block, answer: Answer) -> None:
        matcher = Matcher(self.known)
        if answer.status != block.status:
            raise MismatchError(f"status {block.status} is expected, not {answer.status}")
        for name, template in block.headers:
            if name.startswith("!"):
                if name[1:] in answer.headers:
                    raise MismatchError(f"the header {name[1:]} is not expected")
                continue
            if name not in answer.headers:
                raise MismatchError(f"the header {name} is missing")
            matcher.text(template, _header(answer.headers[name], template), f"header {name}")
        matcher.body(block.body, answer.body)

    def _shown(self, command: str) -> str:
        hidden = {value: name for name, value in self.known.items() if len(value) > 200}
        for value, name in hidden.items():
            command = command.replace(value, f"${name}")
        return command


def _header(value: str, template: str) -> object:
    """Headers are text; whole numbers in them are compared as such."""
    return int(value) if template.startswith(("<int", "<unix")) and value.isdigit() else value


async def _begun(house: House, job_id: JobId) -> None:
    """Wait until an upstream has taken a job."""
    while True:
        changed = house.app.bus.subscribe(job_id)
        try:
            (row,) = await house.app.db.read(lambda tx: tx.rows(_STATE, {"id": job_id}))
            if row[0] not in (JobState.QUEUED, JobState.SUBMITTING):
                return
            await asyncio.wait((changed,), timeout=5)
        finally:
            house.app.bus.unsubscribe(job_id, changed)


def job_of(name: str) -> JobId:
    """Return the job that an id stands for in any dialect: a UUID, `video_<hex>` or a signed handle."""
    if name.startswith(("video_", "file_")):
        return JobId(str(uuid.UUID(name.partition("_")[2])))
    if "." in name:
        claim = name.partition(".")[0]
        return JobId(json.loads(base64.urlsafe_b64decode(claim + "=" * (-len(claim) % 4)))["requestId"])
    return JobId(name)
