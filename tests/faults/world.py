"""The upstreams of the simulator: they outlive every crash of the gateway, and misbehave as the seed says."""

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable, Mapping

from calotype.kernel.outcome import Delta, Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import MaybeSent
from calotype.providers.base import Call, Handle, Idempotency, MediaInputs, PollSchedule, unheard
from calotype.sandbox.upstream import picture_of

TEMPERS = (
    "bytes", "bytes", "bytes", "url", "url", "partial", "polled", "polled", "polled", "polled", "slow", "busy", "busy",
    "invalid", "moderated", "auth", "quota", "upstream", "gone", "unanswered", "vanished", "breaks", "poll-fails",
    "poll-forgets", "lost-file", "nothing",
)  # fmt: skip
REFUSALS = {
    "busy": FailedKind.RETRY, "invalid": FailedKind.INVALID, "moderated": FailedKind.MODERATED,
    "auth": FailedKind.AUTH, "quota": FailedKind.QUOTA, "upstream": FailedKind.UPSTREAM, "gone": FailedKind.GONE,
    "vanished": FailedKind.UNKNOWN,
}  # fmt: skip


class World:
    """Everything outside the gateway: what upstreams took on, by token."""

    def __init__(self, seed: str, files_url: str) -> None:
        self.seed = seed
        self.files_url = files_url
        self.calm = False
        self.works: list[tuple[str, str, str]] = []
        """Job, provider and token of each piece of work somebody has to pay."""

    def chance(self, *about: object) -> random.Random:
        """Return the same dice for the same thing, in whatever order things happen."""
        return random.Random(f"{self.seed}/{about}")

    def providers(self) -> dict[str, "Upstream"]:
        return {
            "a": Upstream(self, "a", Idempotency.NONE),
            "b": Upstream(self, "b", Idempotency.KEY),
            "c": Upstream(self, "c", Idempotency.LOOKUP),
        }


class Upstream:
    """A runtime whose temper for each attempt follows from the seed."""

    kind = "fake"
    media_inputs = MediaInputs.URL
    output_hosts: frozenset[str] = frozenset({"127.0.0.1"})
    schedule = PollSchedule(0.005, 1.2, 0.02)
    max_in_progress = 4
    cancellable = False
    callbacks = False

    def __init__(self, world: World, name: str, idempotency: Idempotency) -> None:
        self.world = world
        self.name = name
        self.idempotency = idempotency

    async def submit(
        self,
        call: Call,
        on_commit: Callable[[], Awaitable[None]],
        on_progress: Callable[[float], None],
        on_delta: Callable[[Delta], None] = unheard,
    ) -> Outcome:
        await on_commit()
        about = f"{call.input['prompt']}/{self.name}/{call.attempt}"  # never the ids, which are new in every run
        dice = self.world.chance(about)
        temper = dice.choice(TEMPERS)
        await asyncio.sleep(dice.random() * 0.01)
        known = (call.job_id, self.name, call.token) in self.world.works
        if temper in REFUSALS and not known:
            return Failed(REFUSALS[temper], "No.", retry_after_s=0.2 if temper == "busy" else None)
        if not (known and self.idempotency is Idempotency.KEY):
            self.world.works.append((call.job_id, self.name, call.token))
        if temper == "slow":
            await asyncio.sleep(0.05)
        if temper == "breaks":
            raise RuntimeError("an adapter with a defect")
        again = self.world.chance("answer", about, known)
        if temper == "unanswered" and (not known or again.random() < 0.5) and not self.world.calm:
            return Failed(FailedKind.UNKNOWN, "No answer.")
        if temper.startswith("poll") or temper == "slow":
            return Pending(handle={"about": about, "left": dice.randrange(4), "temper": temper})
        return self._done(about, temper)

    def _done(self, about: str, temper: str) -> Succeeded:
        token = about.replace(" ", "-").replace("/", "-")
        picture = Output(data=picture_of(token), content_type="image/png")
        broken = Output(base64=b"!!!", content_type="image/png")
        outputs = {
            "url": (Output(url=f"{self.world.files_url}/files/{token}.png"),),
            "lost-file": (Output(url=f"{self.world.files_url}/files/lost-{token}.png"),),
            "partial": (picture, broken),
            "nothing": (broken,),
            "unanswered": (Output(base64=base64.b64encode(picture_of(token))),),
        }
        return Succeeded(outputs.get(temper, (picture,)))

    async def poll(self, handle: Handle) -> Outcome:
        dice = self.world.chance("poll", handle["about"], handle["left"])
        await asyncio.sleep(dice.random() * 0.005)
        if dice.random() < 0.2 and not self.world.calm:
            kind = dice.choice([FailedKind.RETRY, FailedKind.AUTH, FailedKind.UNKNOWN])
            return Failed(kind, "Ask later.", retry_after_s=0.01)
        if handle["left"] > 0:
            return Pending(handle=handle | {"left": handle["left"] - 1})
        if handle["temper"] == "poll-fails":
            return Failed(FailedKind.UPSTREAM, "It failed.")
        if handle["temper"] == "poll-forgets":
            return Failed(FailedKind.GONE, "Never heard of it.")
        return self._done(handle["about"], "bytes" if dice.random() < 0.5 else "url")

    async def cancel(self, handle: Handle) -> bool:
        return self.world.chance("cancel", handle["about"]).random() < 0.5

    async def lookup(self, call: Call) -> Outcome | None:
        about = f"{call.input['prompt']}/{self.name}/{call.attempt}"
        dice = self.world.chance("lookup", about)
        if dice.random() < 0.2 and not self.world.calm:
            raise MaybeSent("away")
        if (call.job_id, self.name, call.token) in self.world.works:
            return Pending(handle={"about": about, "left": 0, "temper": "polled"})
        return None

    async def callback(self, headers: Mapping[str, str], body: bytes, handle: Handle, upstream_id: str) -> bool:
        return False

    async def close(self) -> None:
        return None
