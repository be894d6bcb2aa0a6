"""The repeat mix: who asks what and when. `python -m benchmarks.arrivals` draws the committed file again.

400 requests a second for 25 seconds as a Poisson process, a third of them texts to embed, each one new; a third chats at
temperature 0 whose prompts follow Zipf's law with exponent 1.1; a third sampled chats in groups of four equal ones
at the same moment. A group is one event of the process and counts as four requests.
"""

import csv
import math
import random
from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_suffix(".csv")
SEED: Final = 20251125
RATE: Final = 400.0  # requests a second
SECONDS: Final = 25.0
PROMPTS: Final = 2000
EXPONENT: Final = 1.1
GROUP: Final = 4
CALLERS: Final = (0.4, 0.3, 0.2, 0.1)  # shares of the events

# Events: as many texts as chats, and a group for every four of them, which makes a third of the requests each.
_TEXTS, _CHATS, _GROUPS = 4 / 9, 4 / 9, 1 / 9
_EVENTS = RATE / (_TEXTS + _CHATS + GROUP * _GROUPS)


class Kind(StrEnum):
    """What is asked for."""

    TEXT = "text"
    COLD = "cold"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: microseconds after the first could come, the caller, and which text or prompt of its kind."""

    at: int
    caller: int
    kind: Kind
    number: int


def draw(seed: int = SEED) -> list[Arrival]:
    """The same requests for the same seed on every machine: nothing but `random()` is drawn."""
    rng = random.Random(seed)
    callers = list(accumulate(CALLERS))
    ranks = list(accumulate(rank**-EXPONENT for rank in range(1, PROMPTS + 1)))
    arrivals: list[Arrival] = []
    texts = groups = 0
    at = 0.0
    while (at := at - math.log(1.0 - rng.random()) / _EVENTS) < SECONDS:
        caller = min(bisect(callers, rng.random()), len(CALLERS) - 1)
        event, rank = rng.random(), bisect(ranks, rng.random() * ranks[-1])
        moment = int(at * 1e6)
        if event < _TEXTS:
            arrivals.append(Arrival(moment, caller, Kind.TEXT, texts))
            texts += 1
        elif event < _TEXTS + _CHATS:
            arrivals.append(Arrival(moment, caller, Kind.COLD, rank))
        else:
            arrivals += [Arrival(moment, caller, Kind.SAMPLE, groups)] * GROUP
            groups += 1
    return arrivals


def write(arrivals: Iterable[Arrival], path: Path = FILE) -> None:
    """One line a request."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("at_us", "caller", "kind", "number"))
        writer.writerows((each.at, each.caller, each.kind.value, each.number) for each in arrivals)


def read(path: Path = FILE) -> list[Arrival]:
    """What `write` wrote."""
    with path.open(newline="") as file:
        return [
            Arrival(int(row["at_us"]), int(row["caller"]), Kind(row["kind"]), int(row["number"]))
            for row in csv.DictReader(file)
        ]


if __name__ == "__main__":
    write(draw())
