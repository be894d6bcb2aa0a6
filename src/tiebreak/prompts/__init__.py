"""Prompts under a name, in immutable versions, and the sandboxed templates they are made of."""
