"""Placeholder docstring, replaced by the part that fills this package."""
