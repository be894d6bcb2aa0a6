"""Datasets under a name, in versions by content: what is asked, and what would be right."""
