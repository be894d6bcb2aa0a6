"""JSON as a model answers it: the whole text, or one fenced block that is the whole text. Pure."""

import json
import re
from typing import NoReturn

from pydantic import JsonValue

# Deeper documents are refused before a schema walks them, so that running out of stack is always the schema's doing.
MAX_DEPTH = 64

_FENCED = re.compile(r"```(?:json)?[ \t]*\r?\n(?P<inside>.*?)\r?\n?[ \t]*```", re.DOTALL | re.IGNORECASE)


def parse(text: str) -> JsonValue:
    """The value that the text is; ValueError when it is not JSON.

    Strict: NaN, infinities and numbers beyond a double are refused, and so is nesting deeper than `MAX_DEPTH`.
    Chat models put a fence around JSON and callers take it off, so one block of ```json is taken as its inside;
    words around the block are not.
    """
    text = text.strip()
    fenced = _FENCED.fullmatch(text)
    try:
        value: JsonValue = json.loads(
            fenced["inside"] if fenced else text,
            parse_constant=_refuse,
            parse_int=_finite_int,
            parse_float=_finite_float,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _depth(value) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if value in {float("inf"), float("-inf")}:
        raise ValueError("a number beyond the range of a double")
    return value


def _finite_int(digits: str) -> int:
    _finite_float(digits)  # schemas divide, and dividing a longer integer overflows
    return int(digits)


def _depth(value: JsonValue) -> int:
    depth, level = 0, [value]
    while level := [child for node in level for child in _children(node)]:
        depth += 1
    return depth


def _children(node: JsonValue) -> list[JsonValue]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
