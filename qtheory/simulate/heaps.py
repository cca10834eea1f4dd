"""Two orders that the event kernel keeps, compiled.

* A tournament over n leaves, each with a key: the root holds the least key, and the winner is found by walking down.
  Stored as a complete binary tree, leaf i at `size + i` with size a power of two. Of equal keys the first leaf wins.
* A binary heap of (key, item) in a stretch of two shared arrays, one stretch for each device or disk. Of equal keys the
  item of lower rank comes first, so that ties have one order on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qtheory.simulate.compiled import inlined


def tournament(leaves: int) -> NDArray[np.float64]:
    """An empty tournament: all keys are inf.

    >>> tree = tournament(3)
    >>> enter(tree, 2, 7.0), enter(tree, 1, 7.0), winner(tree), float(tree[1])
    (None, None, 1, 7.0)
    """
    return np.full(2 * (1 << (leaves - 1).bit_length()), math.inf)


@inlined
def enter(tree, leaf, key):  # type: ignore[no-untyped-def]
    """Set a leaf's key."""
    i = (len(tree) >> 1) + leaf
    tree[i] = key
    while i > 1:
        least = min(tree[i], tree[i ^ 1])
        i >>= 1
        if tree[i] == least:
            break
        tree[i] = least


@inlined
def winner(tree):  # type: ignore[no-untyped-def]
    """The first leaf with the least key."""
    size = len(tree) >> 1
    i = 1
    while i < size:
        i <<= 1
        if tree[i] > tree[i + 1]:
            i += 1
    return i - size


@inlined
def push(keys, items, base, length, key, item, rank):  # type: ignore[no-untyped-def]
    """Put (key, item) into the heap of `length` entries that begins at `base`."""
    i = length
    while i > 0:
        parent = (i - 1) >> 1
        above = keys[base + parent]
        if above < key or (above == key and rank[items[base + parent]] < rank[item]):
            break
        keys[base + i], items[base + i] = above, items[base + parent]
        i = parent
    keys[base + i], items[base + i] = key, item


@inlined
def pop(keys, items, base, length, rank):  # type: ignore[no-untyped-def]
    """Take the least entry's item out of the heap of `length` entries at `base`."""
    top = items[base]
    n = length - 1
    key, item = keys[base + n], items[base + n]
    i = 0
    while 2 * i + 1 < n:
        child = 2 * i + 1
        if child + 1 < n:
            left, right = keys[base + child], keys[base + child + 1]
            if right < left or (right == left and rank[items[base + child + 1]] < rank[items[base + child]]):
                child += 1
        below = keys[base + child]
        if below > key or (below == key and rank[items[base + child]] > rank[item]):
            break
        keys[base + i], items[base + i] = below, items[base + child]
        i = child
    keys[base + i], items[base + i] = key, item
    return top
