"""Pure inference on item values: moments, paired differences, rates, multiplicity, planning. Needs numpy and scipy only."""
