"""Clusters matched to the last run's: which stay, which are new, split, merged or gone.

Membership decides: of the chunks that both runs know, the Jaccard likeness of an old and a new
cluster. What is left over is matched by centroids, where the same encoder made them. A cluster that
is matched keeps its id; a new one gets the next id that was never used.

Legend: `N` chunks, `K` new clusters, `P` clusters of the last run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from flows.clustering.spherical import Floats

SAME: Final = 0.3
"""Jaccard likeness from which on a new cluster is the old one."""

SAME_DIRECTION: Final = 0.9
"""Cosine of centroids from which on it is, where no member tells."""

PART: Final = 0.25
"""Share of an old cluster that makes a new one, most of which comes from it, a part of it."""

WHOLE: Final = 0.5
"""Share of an old cluster that must have gone into a new one, for it to have merged into it."""

NOTABLE: Final = 0.1
"""Change of size, relative to the last run, that is told as growth or shrinking."""

Fate: TypeAlias = Literal["born", "steady", "grown", "shrunk", "split", "merged"]
"""`split`: a part of an old cluster; `merged`: made of several."""


class Change(BaseModel):
    """What became of clusters between two runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["born", "grown", "shrunk", "split", "merged", "died"]
    before: tuple[int, ...]
    """Ids of the last run's clusters."""
    after: tuple[int, ...]
    """Ids of this run's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """A cluster of the last run."""

    id: int
    size: int
    """Chunks then."""
    centroid: Floats | None = None
    """float32 (D,), of the same encoder; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where the new clusters come from; places are those of the new labels."""

    ids: tuple[int, ...]
    fates: tuple[Fate, ...]
    matched: tuple[int | None, ...]
    """The old cluster that each goes on from."""
    sizes_before: tuple[int | None, ...]
    changes: tuple[Change, ...]
    next_id: int


def trace(
    labels_N: npt.NDArray[np.int32],
    before_N: npt.NDArray[np.int32],
    known: Sequence[Before],
    *,
    centroids_KD: Floats,
    next_id: int = 0,
) -> Lineage:
    """Match new clusters to old ones.

    Args:
        labels_N: new label of every chunk, from 0; negative: none.
        before_N: old id of every chunk; negative: none, or not known.
        known: the last run's clusters; those that `before_N` names may be missing.
        centroids_KD: of the new clusters.
        next_id: no id from here on was ever used, as far as is known.
    """
    count = len(centroids_KD)
    old = {one.id: one for one in known}
    names, sizes = np.unique(before_N[before_N >= 0], return_counts=True)
    for name, size in zip(names.tolist(), sizes.tolist(), strict=True):
        old.setdefault(name, Before(id=name, size=size))
    ordered = sorted(old)
    shared_PK = _shared(labels_N, before_N, ordered, count)
    matches = _by_members(shared_PK)
    matches |= _by_centroids([old[name] for name in ordered], centroids_KD, matches)
    origin = {place: ordered[row] for row, place in matches.items()}

    fresh = max([next_id, *(name + 1 for name in ordered)])
    ids: list[int] = []
    for place in range(count):
        if place in origin:
            ids.append(origin[place])
        else:
            ids.append(fresh)
            fresh += 1
    return _told(
        ids,
        origin,
        shared_PK,
        ordered,
        old,
        np.bincount(labels_N[labels_N >= 0], minlength=count).tolist(),
        fresh,
    )


def _shared(
    labels_N: npt.NDArray[np.int32],
    before_N: npt.NDArray[np.int32],
    ordered: Sequence[int],
    count: int,
) -> npt.NDArray[np.int64]:
    """How many chunks each old cluster (row) and new one (column) share, int64 (P, K)."""
    shared_PK = np.zeros((len(ordered), count), dtype=np.int64)
    both = (labels_N >= 0) & (before_N >= 0)
    rows = np.searchsorted(np.asarray(ordered, dtype=np.int64), before_N[both])
    np.add.at(shared_PK, (rows, labels_N[both]), 1)
    return shared_PK


def _by_members(shared_PK: npt.NDArray[np.int64]) -> dict[int, int]:
    """Old row -> new place, the likest pairs first; chunks that only one run knows do not count."""
    union_PK = shared_PK.sum(axis=1)[:, None] + shared_PK.sum(axis=0)[None, :] - shared_PK
    likeness_PK = shared_PK / np.maximum(union_PK, 1)
    return _greedy(likeness_PK, SAME)


def _by_centroids(
    olds: Sequence[Before], centroids_KD: Floats, matches: Mapping[int, int]
) -> dict[int, int]:
    """Of what members left unmatched: old row -> new place, the nearest centroids first."""
    cosine_PK = np.zeros((len(olds), len(centroids_KD)))
    taken = set(matches.values())
    for row, one in enumerate(olds):
        if row in matches or one.centroid is None:
            continue
        if one.centroid.shape != centroids_KD.shape[1:]:
            continue
        cosine_PK[row] = centroids_KD @ one.centroid
    cosine_PK[:, sorted(taken)] = 0.0
    return _greedy(cosine_PK, SAME_DIRECTION)


def _greedy(likeness_PK: npt.NDArray[np.float64], least: float) -> dict[int, int]:
    """Pairs of row and column from the likest down, none twice; ties go to the lower ones."""
    found: dict[int, int] = {}
    taken: set[int] = set()
    rows, places = np.nonzero(likeness_PK >= least)
    for at in np.lexsort((places, rows, -likeness_PK[rows, places])).tolist():
        row, place = int(rows[at]), int(places[at])
        if row not in found and place not in taken:
            found[row] = place
            taken.add(place)
    return found


def _told(
    ids: list[int],
    origin: Mapping[int, int],
    shared_PK: npt.NDArray[np.int64],
    ordered: Sequence[int],
    old: Mapping[int, Before],
    sizes: Sequence[int],
    next_id: int,
) -> Lineage:
    """What became of each cluster, and the list of changes."""
    totals_P = shared_PK.sum(axis=1)
    mainly_PK = shared_PK >= WHOLE * np.maximum(shared_PK.sum(axis=0), 1)
    parts = {
        row: np.flatnonzero((shared_PK[row] >= PART * totals_P[row]) & mainly_PK[row]).tolist()
        for row in range(len(ordered))
        if totals_P[row]
    }
    sources = {
        place: [r for r in parts if shared_PK[r, place] >= WHOLE * totals_P[r]]
        for place in range(len(ids))
    }
    fates: list[Fate] = []
    changes: list[Change] = []
    absorbed: set[int] = set()
    for place, own in enumerate(ids):
        before = old[origin[place]].size if place in origin else None
        if len(sources[place]) > 1:
            fates.append("merged")
            absorbed.update(sources[place])
            merged = tuple(ordered[row] for row in sources[place])
            changes.append(Change(kind="merged", before=merged, after=(own,)))
        elif any(place in some and len(some) > 1 for some in parts.values()):
            fates.append("split")
        elif before is None:
            fates.append("born")
            changes.append(Change(kind="born", before=(), after=(own,)))
        elif abs(sizes[place] - before) > NOTABLE * before:
            kind: Literal["grown", "shrunk"] = "grown" if sizes[place] > before else "shrunk"
            fates.append(kind)
            changes.append(Change(kind=kind, before=(own,), after=(own,)))
        else:
            fates.append("steady")
    for row, some in parts.items():
        if len(some) > 1:
            after = tuple(ids[place] for place in some)
            changes.append(Change(kind="split", before=(ordered[row],), after=after))
    alive = set(origin.values())
    for row, name in enumerate(ordered):
        if name not in alive and row not in absorbed and len(parts.get(row, ())) < 2:
            changes.append(Change(kind="died", before=(name,), after=()))
    order = ("born", "grown", "shrunk", "split", "merged", "died")
    return Lineage(
        ids=tuple(ids),
        fates=tuple(fates),
        matched=tuple(origin.get(place) for place in range(len(ids))),
        sizes_before=tuple(
            old[origin[place]].size if place in origin else None for place in range(len(ids))
        ),
        changes=tuple(
            sorted(changes, key=lambda one: (order.index(one.kind), one.before, one.after))
        ),
        next_id=next_id,
    )
