"""Several credentials of one provider: calls take turns, and one that is refused or used up rests for a while."""

import hashlib
import time
import zlib
from collections.abc import Callable, Sequence

from calotype.kernel.outcome import Failed, FailedKind, Outcome
from calotype.providers.base import Call, Handle, Idempotency, Provider

FIRST_REST_S = 5.0
LONGEST_REST_S = 300.0
LONGEST_LIMITED_S = 60.0
CREDENTIAL = "credential"
"""The key of a handle that remembers by which credential a call was made."""
_STOPS = frozenset({FailedKind.AUTH, FailedKind.QUOTA})


class Credential:
    """One credential's adapter and whether it may be used now."""

    def __init__(self, adapter: Provider, mark: str, clock: Callable[[], float]) -> None:
        self.adapter = adapter
        self.mark = mark
        self.refusal: Failed | None = None
        self._clock = clock
        self._rests_until_s = 0.0
        self._rest_s = FIRST_REST_S

    @property
    def resting(self) -> bool:
        """Whether its last refusal is too fresh to try again."""
        return self._clock() < self._rests_until_s

    @property
    def left_s(self) -> float:
        """How much longer it rests."""
        return max(0.0, self._rests_until_s - self._clock())

    def learn(self, outcome: Outcome, *, alone: bool) -> None:
        """Rest after a refusal of the credential, or of its rate where another credential can be used meanwhile."""
        if not isinstance(outcome, Failed):
            self._rest_s, self.refusal = FIRST_REST_S, None
        elif outcome.kind in _STOPS:
            self.refusal = outcome
            self._rests_until_s = self._clock() + self._rest_s
            self._rest_s = min(self._rest_s * 2, LONGEST_REST_S)
        elif outcome.kind is FailedKind.RETRY and outcome.status == 429 and not alone:
            self.refusal = outcome
            self._rests_until_s = self._clock() + min(outcome.retry_after_s or 1.0, LONGEST_LIMITED_S)


class Ring:
    """The credentials of one provider instance.

    A provider that can find out what became of a call (`Idempotency`) gets every sending of one attempt through the
    same credential, also after others were added or removed, and the next attempt goes through the next; so does any
    provider the frames of one session; all others take turns. A job's later requests use the credential that its submit
    used.
    """

    def __init__(
        self, adapters: Sequence[Provider], marks: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        names = marks or [str(n) for n in range(len(adapters))]
        self._all = [Credential(adapter, mark, clock) for adapter, mark in zip(adapters, names, strict=True)]
        self._turn = 0

    def __len__(self) -> int:
        """Return how many credentials there are."""
        return len(self._all)

    @property
    def marks(self) -> tuple[str, ...]:
        """The mark of each credential."""
        return tuple(one.mark for one in self._all)

    @property
    def adapters(self) -> tuple[Provider, ...]:
        """The adapter of each credential."""
        return tuple(one.adapter for one in self._all)

    def choose(self, call: Call) -> Credential | Failed:
        """Return the credential for a call, or why there is none at the moment."""
        if self._all[0].adapter.idempotency is not Idempotency.NONE:
            fixed = self._in_order(call)[(call.attempt - 1) % len(self._all)]
            return fixed if not fixed.resting else self._resting(fixed)
        if call.session is not None:
            usual = self._all[zlib.crc32(call.session.encode()) % len(self._all)]
            if not usual.resting:
                return usual
        for n in range(len(self._all)):
            one = self._all[(self._turn + n) % len(self._all)]
            if not one.resting:
                self._turn = (self._turn + n + 1) % len(self._all)
                return one
        return self._resting(min(self._all, key=lambda one: one.left_s))

    def of(self, handle: Handle) -> Credential:
        """Return the credential that a call was made with; the first where that one is gone."""
        mark = handle.get(CREDENTIAL)
        return next((one for one in self._all if one.mark == mark), self._all[0])

    def lost(self, handle: Handle) -> bool:
        """Say whether the credential that a call was made with is gone from the settings."""
        mark = handle.get(CREDENTIAL)
        return mark is not None and all(one.mark != mark for one in self._all)

    def learn(self, one: Credential, outcome: Outcome) -> bool:
        """Take note of what a call with this credential came to; True when it is worth another credential's turn.

        That is so where this one was refused itself, which is no fault of the call's, and not all of them rest.
        """
        one.learn(outcome, alone=len(self._all) == 1)
        refused = isinstance(outcome, Failed) and outcome.kind in _STOPS
        return refused and any(not other.resting for other in self._all)

    def marked(self, one: Credential, handle: Handle) -> Handle:
        """Return the handle with the credential in it, unless it names one: others may be added at any time."""
        return handle if CREDENTIAL in handle else {**handle, CREDENTIAL: one.mark}

    def _in_order(self, call: Call) -> list[Credential]:
        """Return the credentials in an order of the job's own, which one more or one less leaves as it is."""
        return sorted(self._all, key=lambda one: hashlib.sha256(f"{call.job_id}/{one.mark}".encode()).digest())

    def _resting(self, one: Credential) -> Failed:
        refusal = one.refusal
        awake = any(not other.resting for other in self._all)
        kind = FailedKind.RETRY if awake or refusal is None else refusal.kind
        message = "The provider's account cannot be used at the moment." if refusal is None else refusal.message
        status = None if refusal is None else refusal.status
        return Failed(
            kind, message, detail="not sent: the credential rests", status=status, retry_after_s=0.1 if awake else None
        )


def mark_of(key: str) -> str:
    """Return a name for a credential that tells nothing about it and survives another order in the settings."""
    return hashlib.sha256(f"calotype-credential:{key}".encode()).hexdigest()[:12]
