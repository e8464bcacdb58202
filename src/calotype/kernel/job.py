"""The life of a job as a table: its states, the legal moves between them and which are final."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    RUNNING = "running"
    STORING = "storing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.SUBMITTING, JobState.FAILED, JobState.CANCELED}),
    JobState.SUBMITTING: frozenset(
        {
            JobState.QUEUED,  # the upstream did not take it: the next route, or the same one later
            JobState.RUNNING,
            JobState.STORING,
            JobState.SUCCEEDED,  # a synchronous answer that needs no storing step of its own
            JobState.FAILED,
            JobState.CANCELED,
        }
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.QUEUED,  # the work was lost with its worker, and nobody bills it
            JobState.STORING,
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELED,
        }
    ),
    JobState.STORING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELED: frozenset(),
}

TERMINAL = frozenset(state for state, after in MOVES.items() if not after)


REVOKED: dict[JobState, JobState] = {JobState.SUCCEEDED: JobState.FAILED}
"""The one move of a job that has ended: a result that was lost before anybody had it was none."""


def check_move(before: JobState, after: JobState) -> None:
    """Raise unless the table allows the move.

    Raises:
        ValueError: an illegal transition, which is a defect of the caller.

    """
    if after not in MOVES[before]:
        raise ValueError(f"a job cannot go from {before} to {after}")
