"""Tokens, approximately: four characters each, rounded up. The same text always counts the same. Pure."""

CHARACTERS_PER_TOKEN = 4


def count(text: str) -> int:
    """The tokens of a text; 0 only for the empty one."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def cut(text: str, limit: int) -> str:
    """As much of the text as `limit` tokens hold."""
    return text[: limit * CHARACTERS_PER_TOKEN]
