"""Pure inference: moments, paired differences, rates, quantiles, multiplicity, planning. Needs numpy and scipy only."""
