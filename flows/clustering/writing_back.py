"""Ids and names of clusters into the chunks' metadata, many at a time."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from flows.clustering.members import Mark, Members, Progress
from search.stores.contract import Collection

WRITE_BATCH: Final = 8192
"""Chunks of one write: each ends with a flush to the disk."""


def write_back(
    collection: Collection,
    members: Members,
    labels_N: npt.NDArray[np.int32],
    marks: Sequence[Mark],
    *,
    none: Mark,
    progress: Progress,
) -> int:
    """Write the mark of every chunk whose stored one differs; returns how many there were.

    Chunks of one cluster stand together, so that a store can write them by one instruction.

    Args:
        collection: where to.
        members: its chunks.
        labels_N: of each chunk; negative: none.
        marks: what the chunks of each label are to say.
        none: what those of no cluster are to say.
        progress: is told of stage `write`.
    """
    wanted = [*marks, none]
    stored_N = members.mark_of
    places_N = np.where(labels_N < 0, len(marks), labels_N)
    changes = {
        (place, stored): mark.changes(members.marks[stored])
        for place, mark in enumerate(wanted)
        for stored in np.unique(stored_N[places_N == place]).tolist()
    }
    same = [pair for pair, change in changes.items() if not change]
    keep_N = np.zeros(len(labels_N), dtype=np.bool_)
    for place, stored in same:
        keep_N |= (places_N == place) & (stored_N == stored)
    rows = np.flatnonzero(~keep_N)
    rows = rows[np.lexsort((stored_N[rows], places_N[rows]))]
    for start in range(0, len(rows), WRITE_BATCH):
        batch = rows[start : start + WRITE_BATCH].tolist()
        values: dict[str, Mapping[str, object]] = {
            members.id(row): changes[int(places_N[row]), int(stored_N[row])] for row in batch
        }
        collection.set_metadata(values)
        progress("write", start + len(batch), len(rows))
    return len(rows)
