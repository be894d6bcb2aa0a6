"""From exact sums over units to count, mean and spread."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class ArmMoments:
    """Over the units of one arm, of their counts c (requests, scores) and totals x (the metric's sum over these).

    All are whole numbers, exact however many there are, so that nothing cancels where a sum of squares in floating
    point would (see docs/adr/0018).
    """

    units: int  # with c > 0
    count: int
    total: int
    count_squares: int
    total_squares: int
    products: int

    @property
    def totals(self) -> tuple[int, float, float]:
        """n, mean and the sum of squared distances from it, of the totals x of the units."""
        if self.units == 0:
            return 0, 0.0, 0.0
        m2 = Fraction(self.units * self.total_squares - self.total**2, self.units)
        return self.units, float(Fraction(self.total, self.units)), float(m2)

    @property
    def ratio(self) -> tuple[int, float, float]:
        """n, the mean per request R = Σx/Σc, and Σ(x − R·c)² ÷ c̄².

        With n units drawn, the variance of R is that sum ÷ (n(n − 1)): the delta method for a ratio whose unit of
        randomisation holds several requests (Deng, Knoblich, Lu 2018). With one request a unit it is the usual m2.
        """
        if self.units == 0:
            return 0, 0.0, 0.0
        ratio = Fraction(self.total, self.count)
        residuals = self.total_squares - 2 * ratio * self.products + ratio**2 * self.count_squares
        return self.units, float(ratio), float(residuals / Fraction(self.count, self.units) ** 2)
