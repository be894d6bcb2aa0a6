"""What the sums must be: recounted from nothing, in plain Python, and read from the database in the same shape."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from tests.observations.made import TEST

from tiebreak.observations.landing import land, prepare
from tiebreak.observations.model import Event, Feedback, last_id, moment
from tiebreak.observations.moments import ArmMoments
from tiebreak.observations.partitions import ensure_days
from tiebreak.observations.rows import rows_of

NOTHING, EVERYTHING = bytes(16), b"\xff" * 16
METRICS = {
    "requests": ("requests", "requests"),
    "errors": ("requests", "errors"),
    "fallbacks": ("requests", "fallbacks"),
    "cache_hits": ("requests", "cache_hits"),
    "attempts": ("requests", "attempts"),
    "latency_us": ("answered", "latency_us"),
    "first_token_us": ("streamed", "first_token_us"),
    "cost_nano": ("priced", "cost_nano"),
    "input_tokens": ("counted", "input_tokens"),
    "output_tokens": ("counted", "output_tokens"),
}


async def take(connection, *records):
    """Land these as one batch."""
    await prepare(connection)
    rows = rows_of(records, NOTHING, EVERYTHING)
    await ensure_days(connection, rows.days)
    return await land(connection, rows)


def last_words(items: Iterable[Feedback]) -> list[Feedback]:
    """The last feedback of each target, metric and source."""
    last: dict[tuple, Feedback] = {}
    for item in sorted(items, key=lambda item: (item.at_us, item.id)):
        last[item.target, item.metric, item.source] = item
    return list(last.values())


def arm_of(item: Feedback, events: list[Event]):
    """The (test, unit, phase, variant) that feedback counts for, or None."""
    upto = last_id(moment(item.at_us)).bytes
    tested = [event for event in events if event.exposure is not None]
    if item.kind == "request":
        found = [event for event in tested if event.id == item.target]
    elif item.kind == "session":
        found = [event for event in tested if event.session_key == item.target and event.id <= upto]
    else:
        firsts: dict[tuple, Event] = {}
        for event in tested:
            if (event.exposure.test_id, event.exposure.unit_key) == (item.test_id, item.target):
                firsts.setdefault(_arm(event), event)
        found = [event for event in firsts.values() if event.id <= upto] or list(firsts.values())[:1]
    return _arm(max(found, key=lambda event: event.id)) if found else None


def _arm(event: Event):
    return event.exposure.test_id, event.exposure.unit_key, event.exposure.phase, event.exposure.variant


def recount(records) -> tuple[dict, dict]:
    """(sums by unit, scores by unit and metric) of these records."""
    events = sorted({r.id: r for r in records if isinstance(r, Event)}.values(), key=lambda event: event.id)
    sums: dict[tuple, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for event in events:
        if event.exposure is None:
            continue
        unit, ok = sums[_arm(event)], event.error is None
        unit["requests"] += 1
        unit["answered"] += ok
        unit["errors"] += not ok
        unit["fallbacks"] += len(event.fallbacks)
        unit["cache_hits"] += event.cache == "hit"
        unit["attempts"] += event.attempts
        unit["latency_us"] += event.latency_us if ok else 0
        unit["streamed"] += ok and event.first_token_us is not None
        unit["first_token_us"] += (event.first_token_us or 0) if ok else 0
        unit["priced"] += event.cost_nano is not None
        unit["cost_nano"] += event.cost_nano or 0
        unit["counted"] += event.input_tokens is not None or event.output_tokens is not None
        unit["input_tokens"] += event.input_tokens or 0
        unit["output_tokens"] += event.output_tokens or 0
    scores: dict[tuple, list[int]] = defaultdict(lambda: [0, 0])
    for item in last_words(r for r in records if isinstance(r, Feedback)):
        arm = arm_of(item, events)
        if arm is not None and item.micro is not None:
            scores[*arm, item.metric][0] += 1
            scores[*arm, item.metric][1] += item.micro
    return {arm: dict(unit) for arm, unit in sums.items()}, {key: tuple(v) for key, v in scores.items()}


async def stored(connection) -> tuple[dict, dict]:
    """The same, as the database has it."""
    sums = {}
    for row in await connection.fetch("select * from unit_sums"):
        values = dict(row)
        del values["first_event"]
        arm = tuple(values.pop(name) for name in ("test_id", "unit", "phase", "variant"))
        sums[arm[0].bytes, arm[1].bytes, *arm[2:]] = values
    scores = {
        (row["test_id"].bytes, row["unit"].bytes, row["phase"], row["variant"], row["metric"]): (
            row["count"],
            row["total"],
        )
        for row in await connection.fetch("select * from unit_scores where count <> 0 or total <> 0")
    }
    return sums, scores


async def stored_moments(connection) -> dict[tuple, ArmMoments]:
    """The sums of each arm and metric that has any."""
    rows = await connection.fetch("select * from arm_moments where units <> 0 or total <> 0 or products <> 0")
    return {
        (row["test_id"].bytes, row["phase"], row["variant"], row["metric"]): ArmMoments(
            row["units"],
            *(int(row[n]) for n in ("count", "total", "count_squares", "total_squares", "products")),
        )
        for row in rows
    }


def recount_moments(sums: dict, scores: dict) -> dict[tuple, ArmMoments]:
    """The sums of each arm and metric over units."""
    pairs: dict[tuple, list[tuple[int, int]]] = defaultdict(list)
    for (test, _, phase, variant), unit in sums.items():
        for metric, (count, total) in METRICS.items():
            pairs[test, phase, variant, metric].append((unit[count], unit[total]))
    for (test, _, phase, variant, metric), pair in scores.items():
        pairs[test, phase, variant, f"feedback:{metric}"].append(pair)
    made = {
        key: ArmMoments(
            sum(c > 0 for c, _ in values),
            sum(c for c, _ in values),
            sum(x for _, x in values),
            sum(c * c for c, _ in values),
            sum(x * x for _, x in values),
            sum(c * x for c, x in values),
        )
        for key, values in pairs.items()
    }
    return {key: value for key, value in made.items() if value.units or value.total or value.products}


async def assert_counted(connection, records) -> None:
    """Sums, scores and moments in the database are those of these records."""
    sums, scores = recount(records)
    assert await stored(connection) == (sums, scores)
    assert await stored_moments(connection) == recount_moments(sums, scores)


def unit_totals(sums: dict, metric: str, variant: int, phase: int = 1, test: bytes = TEST):
    """A metric's totals of the units of one arm, as an array."""
    return np.array(
        [u[METRICS[metric][1]] for (t, _, p, v), u in sums.items() if (t, p, v) == (test, phase, variant)],
        dtype=np.float64,
    )
