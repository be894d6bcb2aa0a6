"""Many hypotheses, one error rate."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """What Holm's procedure says of one hypothesis.

    `alpha` is the error rate at which it was last looked at, so that `p <= alpha` says the same as `adjusted <=
    family alpha`, and an interval at level 1 − alpha excludes the null exactly when the hypothesis is refused.
    """

    adjusted: float
    alpha: float


def holm(p_values: Sequence[float], alpha: float) -> list[Step]:
    """Holm's step-down procedure (1979): the chance of any false refusal in the family is at most alpha.

    The i-th smallest of k p-values is compared with alpha / (k − i + 1) until one fails; all after it share the
    alpha of the first failure.
    """
    k = len(p_values)
    steps: dict[int, Step] = {}
    adjusted, stopped = 0.0, 0.0
    for rank, index in enumerate(sorted(range(k), key=lambda i: p_values[i])):
        adjusted = max(adjusted, min(1.0, p_values[index] * (k - rank)))
        share = stopped or alpha / (k - rank)
        if p_values[index] > share:
            stopped = share
        steps[index] = Step(adjusted, share)
    return [steps[index] for index in range(k)]
