"""One verdict and one plain sentence for a test. Pure.

Nothing is called while the run goes on: fixed-horizon intervals hold at one planned end, not at every look. For the
same reason a run that somebody cancelled on its way gets numbers but no call. Once a run has ended, trouble outranks
every conclusion. With several variants each is concluded against the control, and the best of those that may ship is
the answer; they are not compared with each other.
"""

from collections.abc import Mapping, Sequence

from tiebreak.analytics import wording
from tiebreak.analytics.findings import judge
from tiebreak.analytics.health import Trouble
from tiebreak.analytics.levels import COST
from tiebreak.analytics.model import Cell, Conclusion, Evidence, Level, RunSummary, Verdict, VerdictKind
from tiebreak.analytics.presets import conclude
from tiebreak.experiments.definition import Definition, Role
from tiebreak.runs.model import RunState

# The kinds that say "ship it", the one the test asked for first.
SHIP = (VerdictKind.NOT_WORSE_AND_CHEAPER, VerdictKind.BETTER)
KEEP = (VerdictKind.CANNOT_TELL, VerdictKind.EQUIVALENT, VerdictKind.WORSE)
SHORT = {
    VerdictKind.NOT_WORSE_AND_CHEAPER: "is not worse and cheaper",
    VerdictKind.BETTER: "is better",
    VerdictKind.WORSE: "is worse",
    VerdictKind.EQUIVALENT: "is equivalent",
    VerdictKind.CANNOT_TELL: "is undecided",
}


def collecting(run: RunSummary | None) -> bool:
    """Whether responses are still to come, so that no interval may be shown."""
    return run is None or run.state in (RunState.RUNNING, RunState.PAUSED)


def decide(
    definition: Definition,
    run: RunSummary | None,
    evidence: Sequence[Evidence],
    levels: Mapping[Cell, Level],
    troubles: Sequence[Trouble],
) -> Verdict:
    """The answer to the question that the definition asks."""
    if run is None or collecting(run):
        return _still_collecting(run)
    if run.state is RunState.FAILED:
        sentence = f"The run failed: {run.reason or 'no reason was recorded'}."
        return Verdict(VerdictKind.UNHEALTHY, None, sentence, "Mend the cause, and run the test again.")
    if troubles:
        more = f" ({len(troubles) - 1} more)" if len(troubles) > 1 else ""
        sentence = f"The numbers cannot be trusted: {troubles[0].sentence}{more}."
        return Verdict(VerdictKind.UNHEALTHY, None, sentence, troubles[0].next_step)
    if run.done < run.total:
        return _cancelled(run, evidence, levels)
    conclusions = tuple(conclude(definition, v.key, evidence, levels) for v in definition.variants[1:])
    if len(conclusions) == 1:
        return _only(conclusions[0])
    return _choose(definition, conclusions, evidence)


def _still_collecting(run: RunSummary | None) -> Verdict:
    kind = VerdictKind.COLLECTING
    if run is None:
        return Verdict(kind, None, "The test has not been started.", "Start it.")
    share = wording.percent(round(run.done / max(run.total, 1), 2))
    sentence = (
        f"{run.done:,} of {run.total:,} responses are in ({share}); there is no call before the end, "
        "because these intervals are not safe to look at early."
    )
    if run.state is RunState.PAUSED:
        return Verdict(kind, None, sentence, f"Resume the run; it is paused: {run.reason or 'by hand'}.")
    return Verdict(kind, None, sentence, "Wait for the run to end.")


def _cancelled(run: RunSummary, evidence: Sequence[Evidence], levels: Mapping[Cell, Level]) -> Verdict:
    sentence = f"No call: the run was cancelled after {run.done:,} of {run.total:,} responses"
    primary = next(e for e in evidence if e.metric.role is Role.PRIMARY)
    judged = judge(primary, levels[primary.cell])
    if judged is not None:
        sentence += f"; until then {primary.variant} − {primary.control} is {judged.text()}"
    return Verdict(VerdictKind.CANNOT_TELL, None, f"{sentence}.", "Run the test to its planned end.")


def _only(found: Conclusion) -> Verdict:
    variant = None if found.kind is VerdictKind.CANNOT_TELL else found.variant
    return Verdict(found.kind, variant, f"{found.sentence}.", found.next_step, (found,))


def _choose(definition: Definition, found: tuple[Conclusion, ...], evidence: Sequence[Evidence]) -> Verdict:
    for kind in SHIP:
        winners = [c for c in found if c.kind is kind]
        if winners:
            best = max(winners, key=lambda c: _merit(definition, c, evidence))
            others = wording.listed([f"{c.variant} {SHORT[c.kind]}" for c in found if c is not best])
            return Verdict(kind, best.variant, f"{best.sentence}; {others}.", best.next_step, found)
    control = definition.variants[0].key
    all_short = wording.listed([f"{c.variant} {SHORT[c.kind]}" for c in found])
    # An undecided variant may still turn out to be the one to ship, so it outranks those that are settled.
    kind = next(kind for kind in KEEP if any(c.kind is kind for c in found))
    of_kind = [c for c in found if c.kind is kind]
    sentence = f"No variant is shown to be the one to ship instead of {control}: {all_short}."
    single = len(of_kind) == 1 and kind is not VerdictKind.CANNOT_TELL
    next_step = of_kind[0].next_step if kind is not VerdictKind.CANNOT_TELL else _steps(of_kind)
    return Verdict(kind, of_kind[0].variant if single else None, sentence, next_step, found)


def _steps(undecided: Sequence[Conclusion]) -> str:
    return " ".join(f"{c.variant}: {c.next_step}" for c in undecided)


def _merit(definition: Definition, conclusion: Conclusion, evidence: Sequence[Evidence]) -> float:
    """The gain that ranks variants which may ship: the saving, or the gain on the first primary metric."""
    primary = next(metric.name for metric in definition.metrics if metric.role is Role.PRIMARY)
    name = COST if conclusion.kind is VerdictKind.NOT_WORSE_AND_CHEAPER else primary
    gain = next(e.gain for e in evidence if e.cell == Cell(conclusion.variant, name))
    return 0.0 if gain is None else gain.estimate
