"""How fast a run is and when it will be done: pure."""

from datetime import datetime

from tiebreak.runs.model import Run, RunState

SHORTEST_LOOK = 1.0  # seconds; a rate over less says more of the moment than of the run


def rate_per_second(run: Run) -> float | None:
    """Tasks ended a second over the last five to ten seconds; None while that cannot be said, 0 on no progress."""
    if run.state is not RunState.RUNNING:
        return None
    for at, done in ((run.earlier_at, run.earlier_done), (run.mark_at, run.mark_done)):
        if at is not None and done is not None and (seconds := _seconds(at, run.as_of)) >= SHORTEST_LOOK:
            return (run.done - done) / seconds
    return None


def eta_seconds(run: Run) -> float | None:
    """Seconds until the last task ends at the present rate; None when there is no telling."""
    rate = rate_per_second(run)
    return (run.total - run.done) / rate if rate else None


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()
