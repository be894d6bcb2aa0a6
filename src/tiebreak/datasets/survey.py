"""One pass over a file before anything is stored: is every item sound, how many are there, what is their hash. Pure."""

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tiebreak.datasets.model import Item
from tiebreak.datasets.parsing import place
from tiebreak.errors import Fault, InvalidInput, PayloadTooLarge

MAX_ITEMS = 1_000_000
MAX_FAULTS = 20  # collected before a reader stops

Reading = Callable[[], Iterator[Item | Fault]]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a sound file holds."""

    item_count: int
    columns: tuple[str, ...]
    content_hash: str


def canonical(item: Item) -> str:
    """One line of JSON that two items share exactly when nothing tells them apart; where they stood does not count."""
    parts = [item.item_id, item.inputs, item.expected, item.category, item.difficulty]
    return json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)


def survey(read: Reading, unit: str = "line", *, limit: int = MAX_ITEMS) -> Survey:
    """Read everything once, and once more only to name duplicate ids.

    Eight bytes an item are kept, not the ids, so that a million items fit into little memory.

    Raises:
        InvalidInput: with up to 20 faults; a file without items; an id that is there twice.
        PayloadTooLarge: over `limit` items, or a line too long.
    """
    digest = hashlib.sha256()
    hashes = array("q")
    columns: tuple[str, ...] = ()
    for item in _sound(read(), unit):
        columns = columns or tuple(item.inputs)
        hashes.append(hash(item.item_id))
        if len(hashes) > limit:
            raise PayloadTooLarge(f"over {limit} items, which is the limit; split the file")
        digest.update(canonical(item).encode())
        digest.update(b"\n")
    if not hashes:
        raise InvalidInput("the file holds no items")
    if repeated := _repeated(hashes):
        _refuse_duplicates(read(), repeated, unit)
    return Survey(len(hashes), columns, digest.hexdigest())


def _sound(records: Iterable[Item | Fault], unit: str) -> Iterator[Item]:
    faults: list[Fault] = []
    try:
        for record in records:
            if isinstance(record, Item):
                yield record
            else:
                faults.append(record)
            if len(faults) == MAX_FAULTS:
                break
    except InvalidInput as exc:
        if not faults:
            raise
        faults += exc.faults
    if faults:
        raise _invalid(faults, unit)


def _invalid(faults: list[Fault], unit: str) -> InvalidInput:
    shown = "; ".join(place(fault, unit) for fault in faults[:5])
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    return InvalidInput(shown + more, faults=faults)


def _repeated(hashes: "array[int]") -> frozenset[int]:
    import numpy as np  # on use: importing it takes longer than most surveys

    ordered = np.sort(np.frombuffer(hashes, dtype=np.int64))
    return frozenset(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _refuse_duplicates(records: Iterable[Item | Fault], repeated: frozenset[int], unit: str) -> None:
    """Two ids may share a hash by chance; only equal ids are duplicates."""
    first: dict[str, int] = {}
    faults: list[Fault] = []
    for record in records:
        if not isinstance(record, Item) or hash(record.item_id) not in repeated:
            continue
        earlier = first.setdefault(record.item_id, record.line)
        if earlier != record.line:
            message = f"the id {record.item_id!r} is there twice: {unit} {earlier} has it too"
            faults.append(Fault("", message, line=record.line))
        if len(faults) == MAX_FAULTS:
            break
    if faults:
        raise _invalid(faults, unit)
