"""The map: every chunk as a point of the plane, packed for a page.

Legend: `N` chunks, `M` of them on the map, `D` dimensions.
"""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from flows.clustering.fit import Clustering
from flows.clustering.members import Members
from flows.clustering.method import Projection
from flows.clustering.snippet import one_line
from flows.clustering.spherical import Floats
from flows.clustering.streaming import count_distinct, one_thread
from flows.clustering.vector_file import Vectors, sample_rows
from flows.errors import InvalidInput

MOST_POINTS: Final = 100_000
"""Points of a map; of more chunks, a sample."""

FIT_SAMPLE: Final = 20_000
"""Vectors that the principal components are those of."""

SIDE: Final = 65_535
TITLE_CHARACTERS: Final = 90
NO_CLUSTER: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class PointMap:
    """Points of the plane.

    Attributes:
        rows: int64 (M,), which chunks.
        places: uint16 (M, 2), x and y from 0 to 65,535.
        labels: int32 (M,), label of each; negative: none.
        packed: what the page reads, as base64 of gzip of JSON.
    """

    rows: npt.NDArray[np.int64]
    places: npt.NDArray[np.uint16]
    labels: npt.NDArray[np.int32]
    packed: str


def check_projection(projection: Projection) -> None:
    """Refuse a projection whose library is not there, before any work.

    Raises:
        InvalidInput: `umap` without umap-learn.
    """
    if projection != "umap":
        return
    from importlib.util import find_spec

    if find_spec("umap") is None:
        raise InvalidInput(
            "the map 'umap' needs umap-learn; install the extra: pip install "
            "'sextant-pipeline[map]', or use 'pca'"
        )


def make_map(
    vectors: Vectors,
    members: Members,
    clustering: Clustering,
    *,
    projection: Projection,
    ids: Sequence[int],
    links: Mapping[str, str],
    seed: int,
) -> PointMap:
    """Project the chunks, or a sample of 100,000, onto a plane; deterministic under the seed.

    Args:
        vectors: of all chunks.
        members: in the same order.
        clustering: likewise.
        projection: `pca`, the two directions of greatest variance; `umap`, neighbourhoods.
        ids: the id of each label's cluster.
        links: address of each source that can be opened.
        seed: of the samples and of `umap`.
    """
    rows = sample_rows(len(vectors), MOST_POINTS, seed=seed)
    plane_M2 = _project(vectors, rows, projection, seed=seed)
    low, high = plane_M2.min(axis=0), plane_M2.max(axis=0)
    # One scale for both axes: stretched apart, distances would mean different things.
    span = max(float((high - low).max()), 1e-9)
    centred_M2 = (plane_M2 - (low + high) / 2) / span + 0.5
    places_M2 = np.clip(np.round(centred_M2 * SIDE), 0, SIDE).astype(np.uint16)
    labels_M = clustering.labels[rows]
    return PointMap(
        rows=rows,
        places=places_M2,
        labels=labels_M,
        packed=_pack(places_M2, labels_M, rows, members, ids, links),
    )


def _project(
    vectors: Vectors, rows: npt.NDArray[np.int64], projection: Projection, *, seed: int
) -> Floats:
    alike = count_distinct(vectors, limit=2) < 2
    if alike or vectors.dimension < 2 or len(rows) < 3:
        plane_M2 = np.zeros((len(rows), 2), dtype=np.float32)
        plane_M2[:, 0] = 0.0 if alike else np.arange(len(rows))
        return plane_M2
    if projection == "umap":
        from importlib import import_module

        umap = import_module("umap")  # an extra, without types
        with one_thread():
            found_M2: Floats = umap.UMAP(
                metric="cosine",
                n_neighbors=min(15, len(rows) - 1),
                init="random" if len(rows) < 10 else "spectral",
                random_state=seed,
                n_jobs=1,
            ).fit_transform(vectors.take(rows))
        return found_M2
    from sklearn.decomposition import PCA

    with one_thread():
        model = PCA(n_components=2, svd_solver="covariance_eigh")
        model.fit(vectors.take(sample_rows(len(vectors), FIT_SAMPLE, seed=seed)))
        return np.concatenate(
            [
                model.transform(vectors.take(rows[start : start + FIT_SAMPLE]))
                for start in range(0, len(rows), FIT_SAMPLE)
            ]
        ).astype(np.float32)


def _pack(
    places_M2: npt.NDArray[np.uint16],
    labels_M: npt.NDArray[np.int32],
    rows: npt.NDArray[np.int64],
    members: Members,
    ids: Sequence[int],
    links: Mapping[str, str],
) -> str:
    """Numbers as little-endian arrays, titles and sources once for each document."""
    documents, document_M = np.unique(members.document_of[rows], return_inverse=True)
    shown = [members.documents[place] for place in documents.tolist()]
    # Points of a cluster stand together: whoever shows one need not look at the others.
    order_M = np.argsort(np.where(labels_M < 0, NO_CLUSTER, labels_M), kind="stable")
    content = {
        "points": len(rows),
        "ids": list(ids),
        "places": _base64(places_M2[order_M].astype("<u2")),
        "labels": _base64(np.where(labels_M < 0, NO_CLUSTER, labels_M)[order_M].astype("<u2")),
        "documents": _base64(document_M[order_M].astype("<u4")),
        "starts": _base64(members.starts[rows][order_M].astype("<u4")),
        "titles": [one_line(one.title or one.source, TITLE_CHARACTERS) for one in shown],
        "sources": [one_line(one.source, 400) for one in shown],
        "links": [links.get(one.source, "") for one in shown],
    }
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()


def _base64(array: npt.NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
