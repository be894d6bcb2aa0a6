"""Runs: a dataset through the variants of a test, resumable, within a budget, every item exactly once in the results."""
