"""A tree of clusters: k-means with two centroids, over and over, as bisecting k-means does.

scikit-learn's own `BisectingKMeans` keeps its tree to itself, so that the splits are made here, by
its `KMeans`, in the order of its `biggest_inertia`.

Legend: `N` vectors, `S` of them in a sample, `D` dimensions, `K` clusters.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from flows.clustering.spherical import Floats, Labels, centroids, distinct_rows, partition
from flows.clustering.vector_file import Vectors, sample_rows

TREE_SAMPLE: Final = 50_000
"""Vectors that the tree is grown on, drawn at random under the seed where there are more."""

STARTS: Final = 4


@dataclass(slots=True)
class Node:
    """A group of the tree; a leaf has no children."""

    rows: npt.NDArray[np.int64]
    """Of the sample, ascending."""
    inertia: float
    """Sum of squared distances to its mean: the leaf with most of it is parted next."""
    parent: int | None = None
    children: tuple[int, int] | None = None
    centroids_2D: Floats | None = None
    """Of its children, float32 (2, D)."""


def grow_tree(unit_SD: Floats, k: int, *, seed: int) -> list[Node]:
    """The nodes of a tree with up to `k` leaves, the root first, parents before children.

    Fewer leaves come back where no leaf has two distinct vectors left.
    """
    nodes = [Node(np.arange(len(unit_SD)), _inertia(unit_SD))]
    stuck: set[int] = set()
    leaves = 1
    while leaves < k:
        open_leaves = [
            number
            for number, node in enumerate(nodes)
            if node.children is None and number not in stuck
        ]
        if not open_leaves:
            break
        number = max(open_leaves, key=lambda n: (nodes[n].inertia, -n))
        node = nodes[number]
        own_SD = unit_SD[node.rows]
        labels = _halves(own_SD, seed=seed + number)
        if labels is None:
            stuck.add(number)
            continue
        node.children = (len(nodes), len(nodes) + 1)
        node.centroids_2D = centroids(own_SD, labels)
        for half in (0, 1):
            rows = node.rows[labels == half]
            nodes.append(Node(rows, _inertia(unit_SD[rows]), parent=number))
        leaves += 1
    return nodes


def tree_partition(vectors: Vectors, k: int, *, seed: int) -> tuple[Labels, list[Node]]:
    """The leaf of every vector as int32 (N,), counted from 0, and the tree.

    The i-th label is the i-th leaf in the tree's order. Memory holds the sample, and then a block.
    """
    sample = sample_rows(len(vectors), TREE_SAMPLE, seed=seed)
    nodes = grow_tree(vectors.take(sample), k, seed=seed)
    leaf_of = {
        number: leaf
        for leaf, number in enumerate(n for n, node in enumerate(nodes) if node.children is None)
    }
    labels_N = np.empty(len(vectors), dtype=np.int32)
    for rows, block_MD in vectors.blocks():
        at_M = np.zeros(len(block_MD), dtype=np.int32)
        for number, node in enumerate(nodes):
            if node.children is None or node.centroids_2D is None:
                continue
            here = np.flatnonzero(at_M == number)
            side = np.argmax(block_MD[here] @ node.centroids_2D.T, axis=1)
            at_M[here] = np.asarray(node.children, dtype=np.int32)[side]
        labels_N[rows] = [leaf_of[int(number)] for number in at_M]
    return labels_N, nodes


def _halves(unit_SD: Floats, *, seed: int) -> Labels | None:
    if distinct_rows(unit_SD, limit=2) < 2:
        return None
    labels = partition(unit_SD, 2, seed=seed % 2**32, starts=STARTS)
    return labels if len(np.unique(labels)) == 2 else None


def _inertia(unit_SD: Floats) -> float:
    mean_D = unit_SD.mean(axis=0, dtype=np.float64)
    return float(len(unit_SD) * (1.0 - min(1.0, float(mean_D @ mean_D))))
