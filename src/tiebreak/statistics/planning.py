"""How many items a decision needs."""

import math

from scipy.special import ndtri

from tiebreak.statistics.proportions import normal_quantile

POWER = 0.8


def items_needed(sd: float, distance: float, alpha: float, power: float = POWER) -> int | None:
    """Pairs after which a paired two-sided test at `alpha` tells a difference `distance` away from the boundary.

    ((z_{1−α/2} + z_{power}) · sd / distance)², plus z²/2 for the t distribution (Guenther 1981). `sd` is that of one
    pair's difference. None when there is no distance: no number of items decides what sits on the boundary.
    """
    if distance == 0:
        return None
    z = normal_quantile(alpha)
    return math.ceil(((z + float(ndtri(power))) * sd / distance) ** 2 + z * z / 2)
