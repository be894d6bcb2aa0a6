"""What the results of a test are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from tiebreak.experiments.definition import Definition, Metric
from tiebreak.experiments.model import Experiment
from tiebreak.runs.model import RunState
from tiebreak.statistics.interval import Interval
from tiebreak.statistics.paired import Pairs


class VerdictKind(StrEnum):
    """What the responses say about the question the test asks."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    NOT_WORSE_AND_CHEAPER = "not_worse_and_cheaper"
    COLLECTING = "collecting"
    UNHEALTHY = "unhealthy"
    CANNOT_TELL = "cannot_tell"


class Cell(NamedTuple):
    """A place in the table of results."""

    variant: str
    metric: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Responses of one variant on one metric, with reasons counted.

    `unscored` ones have no value. `wrong` ones have a value that somebody can explain: a check's 0, an error's kind.
    """

    responses: int
    unscored: Mapping[str, int]
    wrong: Mapping[str, int]

    @property
    def missing(self) -> int:
        """Responses without a value."""
        return sum(self.unscored.values())


@dataclass(frozen=True, slots=True)
class Detours:
    """Answers of one variant that were not a draw of its own model for this request alone: another model gave them after
    the first had failed, or they came along with an equal request's."""

    answers: int = 0
    fallbacks: int = 0
    shared: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """The ended tasks of a run.

    `values` has one row per variant and one column per item for each metric: the mean over the item's repeats that
    have a value, NaN without one. Items that share an answer are one column. `detours` are by variant.
    """

    values: Mapping[str, NDArray[np.float64]]
    tallies: Mapping[Cell, Tally]
    detours: Mapping[str, Detours] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Where the run stands. Money in nano-dollars."""

    id: UUID
    state: RunState
    reason: str | None
    definition: Definition
    total: int
    done: int
    calls: int
    tokens: int
    cost_nano: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One variant on one metric. `n` counts items with a value; `reason` says why there is no interval."""

    cell: Cell
    n: int
    mean: float | None
    se: float | None
    interval: Interval | None
    reason: str | None
    tally: Tally


@dataclass(frozen=True, slots=True)
class Evidence:
    """A variant against the control on one metric. `pairs` is None when no item has both values."""

    variant: str
    control: str
    metric: Metric
    pairs: Pairs | None
    control_mean: float | None

    @property
    def cell(self) -> Cell:
        """Where it belongs."""
        return Cell(self.variant, self.metric.name)

    @property
    def gain(self) -> Pairs | None:
        """The same pairs, turned so that above zero is good."""
        lower = self.metric.good == "lower"
        return self.pairs.swapped() if lower and self.pairs is not None else self.pairs


@dataclass(frozen=True, slots=True)
class Level:
    """At which error rate a comparison is judged.

    `adjusted` is the p-value of the claim that the comparison decides, corrected for all such claims of the test;
    `decisive` says that the verdict rests on this comparison.
    """

    alpha: float
    adjusted: float | None = None
    decisive: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """How far a control and a variant can be compared on a metric that decides.

    `pairs` compares, item by item, whether a value is missing; `unpaired` is the share of items with
    a value that have it under one of the two only.
    """

    cell: Cell
    control: str
    pairs: Pairs | None
    unpaired: float


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What is found of one variant."""

    variant: str
    kind: VerdictKind
    sentence: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of the test.

    `variant` is the one the kind speaks of, None when it speaks of none or of several; `conclusions` has every
    variant but the control, and is empty where nothing is concluded.
    """

    kind: VerdictKind
    variant: str | None
    sentence: str
    next_step: str
    conclusions: tuple[Conclusion, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """Everything the results page shows, from one reading of the run."""

    experiment: Experiment
    definition: Definition  # of the run, or of the draft
    run: RunSummary | None
    as_of: datetime
    summaries: tuple[Summary, ...]
    evidence: tuple[Evidence, ...]
    levels: Mapping[Cell, Level]
    verdict: Verdict
    detours: Mapping[str, Detours]
