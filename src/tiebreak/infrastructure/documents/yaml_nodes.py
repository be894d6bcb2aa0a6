"""YAML as values that know their place, within limits. Pure.

Only what JSON can say is taken: no tags of other languages, no dates, text as keys. Limits are checked on the stream
of events, before any node exists, so that neither nesting nor a bomb of aliases costs memory.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import JsonValue
from yaml.constructor import ConstructorError, SafeConstructor

from tiebreak.errors import Fault
from tiebreak.infrastructure.rest.text import MAX_DEPTH, pointer

MAX_NODES = 10_000  # values in the file, those that aliases repeat counted again
MAX_FAULTS = 20

_TAG = "tag:yaml.org,2002:"
_TEXTS = frozenset({f"{_TAG}str", f"{_TAG}merge", f"{_TAG}value"})
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file, both from one."""

    line: int
    column: int


class Unreadable(Exception):
    """The text is not YAML that can be taken."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


@dataclass
class Document:
    """A value and where its parts stand, by JSON pointer."""

    value: JsonValue = None
    values: dict[str, Place] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)

    def place(self, at: str, *, key: bool = False) -> Place:
        """Where the value (or its key) of this pointer stands; of something missing, where it would belong."""
        if key and at in self.keys:
            return self.keys[at]
        while at not in self.values:
            at = at.rpartition("/")[0]
        return self.values[at]


def compose(text: str) -> Document:
    """Read one document.

    Raises:
        Unreadable: not YAML, more than JSON can say, a key twice, or over the limits.
    """
    try:
        _check_limits(text)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        message = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise Unreadable([_fault(f"not YAML: {message}", mark)]) from exc
    if root is None:
        raise Unreadable([Fault("", "the file is empty", line=1, column=1)])
    reader = _Reader()
    reader.document.value = reader.read(root, "")
    if reader.faults:
        raise Unreadable(reader.faults[:MAX_FAULTS])
    return reader.document


def _fault(message: str, mark: Any, at: str = "") -> Fault:
    return Fault(at, message, line=mark.line + 1, column=mark.column + 1)


def _check_limits(text: str) -> None:
    """Walk the events: how deep, and how many values there are once every alias stands for what it repeats."""
    count = 0
    opened: list[tuple[str | None, int]] = []
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == name for name, _ in opened):
                raise Unreadable(
                    [_fault(f"the alias *{anchor} stands inside what it repeats", event.start_mark)]
                )
            count += sizes.get(str(anchor), 1)
        elif isinstance(event, yaml.NodeEvent):
            count += 1
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((anchor, count - 1))
            elif anchor is not None:
                sizes[anchor] = 1
        if len(opened) > MAX_DEPTH:
            raise Unreadable([_fault(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)])
        if count > MAX_NODES:
            raise Unreadable(
                [_fault(f"over {MAX_NODES} values, those repeated by aliases counted", event.start_mark)]
            )


class _Reader:
    """Turns nodes into values; what cannot be taken becomes a fault and None."""

    def __init__(self) -> None:
        self.document = Document()
        self.faults: list[Fault] = []
        self._scalars = SafeConstructor()

    def read(self, node: yaml.Node, at: str) -> JsonValue:
        """The value of a node; notes its place."""
        self.document.values[at] = Place(node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, at)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.read(child, at + pointer(place)) for place, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return {name: self._entry(name, key, value, at) for name, key, value in self._entries(node, at)}
        return self._refuse(f"the tag {_short(node.tag)} is not taken here", node, at)

    def _entry(self, name: str, key: yaml.Node, value: yaml.Node, at: str) -> JsonValue:
        inner = at + pointer(name)
        self.document.keys[inner] = Place(key.start_mark.line + 1, key.start_mark.column + 1)
        return self.read(value, inner)

    def _refuse(self, message: str, node: yaml.Node, at: str) -> JsonValue:
        self.faults.append(_fault(message, node.start_mark, at))
        return None

    def _entries(self, node: yaml.MappingNode, at: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
        """The entries of a mapping; what `<<` merges into it comes first and is overridden."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _TEXTS:
                self._refuse("a key has to be text; put it in quotes", key, at)
            elif key.value in seen:
                self._refuse(f"the key {key.value!r} is there twice", key, at + pointer(key.value))
            elif key.tag == f"{_TAG}merge":
                merged = self._merged(value, at)
            else:
                own[key.value] = (key, value)
            seen.add(key.value if isinstance(key.value, str) else "")
        return [(name, key, value) for name, (key, value) in (merged | own).items()]

    def _merged(self, node: yaml.Node, at: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for source in reversed(sources):
            if isinstance(source, yaml.MappingNode):
                merged |= {name: (key, value) for name, key, value in self._entries(source, at)}
            else:
                self._refuse("`<<` takes a mapping, or a list of them", source, at)
        return merged

    def _scalar(self, node: yaml.ScalarNode, at: str) -> JsonValue:
        if node.tag in _TEXTS:
            plain_number = not node.style and _EXPONENT.fullmatch(node.value)
            return float(node.value) if plain_number else str(node.value)
        try:
            match node.tag.removeprefix(_TAG):
                case "null":
                    return None
                case "bool":
                    return bool(self._scalars.construct_yaml_bool(node))
                case "int":
                    return int(self._scalars.construct_yaml_int(node))
                case "float":
                    return float(self._scalars.construct_yaml_float(node))
                case "timestamp":
                    return self._refuse(
                        f"{node.value} is a date in YAML; put it in quotes to make it text", node, at
                    )
        except (ConstructorError, ValueError, KeyError, IndexError) as exc:
            kind = node.tag.removeprefix(_TAG)
            return self._refuse(f"{node.value[:40]!r} is no {kind} ({type(exc).__name__})", node, at)
        return self._refuse(f"the tag {_short(node.tag)} is not taken here", node, at)


def _short(tag: str) -> str:
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag
