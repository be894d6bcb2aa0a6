"""Items that share an answer of the model say one thing together, so they count as one. Pure."""

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray


def clusters(positions: NDArray[np.int64], draws: Iterable[tuple[int, Hashable]]) -> NDArray[np.int64]:
    """The cluster of each position, counted from 0: two positions with a draw in common are in one, and so are those
    that a third one links. `draws` has (position, draw) pairs of positions among the given."""
    parents = list(range(positions.size))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    places = {int(position): place for place, position in enumerate(positions)}
    first: dict[Hashable, int] = {}
    for position, draw in draws:
        place = places[position]
        other = first.setdefault(draw, place)
        parents[max(root(place), root(other))] = min(root(place), root(other))
    _, labels = np.unique([root(place) for place in range(positions.size)], return_inverse=True)
    return labels.astype(np.int64).reshape(-1)


def folded(values: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """One column per cluster: the mean of its items' values, NaN where none has one. `values` has a row per variant."""
    size = int(labels.max()) + 1 if labels.size else 0
    sums, counts = np.zeros((values.shape[0], size)), np.zeros((values.shape[0], size))
    there = ~np.isnan(values)
    for row in range(values.shape[0]):
        np.add.at(sums[row], labels[there[row]], values[row, there[row]])
        np.add.at(counts[row], labels[there[row]], 1.0)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return means
