"""Checks: deterministic evaluators that give a score for one response and store nothing."""
