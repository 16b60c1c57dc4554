"""What clustering costs, and how soon its page opens: `python -m benchmarks.clustering`.

Synthetic chunks around planted topics, made again at every read, so that only what the clustering
keeps takes memory; each case in a process of its own, whose highest resident memory is told. Where
Chromium and its driver are installed, also how long the page takes to open and draw its map.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from benchmarks.clustering_page import browser_version, open_page
from benchmarks.results_file import finish
from flows.clustering.method import Algorithm, Method
from flows.clustering.run import Wanted, cluster_collection
from search.filters import Filter
from search.records import KIND, KIND_CHUNK, METADATA, PAGE_CONTENT, Record
from search.stores.contract import Collection, Manifest

DIMENSION = 384
TOPICS = 40
CASES = (
    *("kmeans:10000:40", "kmeans:100000:40", "kmeans:1000000:40"),
    *("kmeans:10000", "kmeans:100000", "kmeans:1000000"),
    *("bisecting:100000:40", "bisecting:1000000:40", "hdbscan:10000", "hdbscan:100000"),
)
CHUNKS_OF_A_DOCUMENT = 10
BATCH = 1024
WORDS = (
    *("river", "stone", "orbit", "loaf", "engine", "harbour"),
    *("prism", "ledger", "meadow", "signal", "velvet", "quartz"),
)


class Planted:
    """A collection of `count` chunks in the order of their ids, none of which is kept."""

    def __init__(self, count: int) -> None:
        self.count_ = count
        random = np.random.default_rng(0)
        self.topics_TD = random.normal(size=(TOPICS, DIMENSION)).astype(np.float32)
        self.topics_TD /= np.linalg.norm(self.topics_TD, axis=1, keepdims=True)
        self.written = 0
        self.manifest = Manifest(
            name="planted",
            dimension=DIMENSION,
            fingerprint="planted",
            encoder={"name": "planted"},
            created_at="2025-01-01T00:00:00Z",
        )

    def count(self, where: Filter | None = None) -> int:
        """How many chunks there are."""
        return self.count_

    def scroll(
        self, *, where: Filter | None = None, with_vectors: bool = False, batch_size: int = BATCH
    ) -> Iterator[Record]:
        """All chunks, batch by batch."""
        for start in range(0, self.count_, BATCH):
            rows = range(start, min(start + BATCH, self.count_))
            random = np.random.default_rng(start)
            topics = random.integers(TOPICS, size=len(rows))
            noise = random.normal(size=(len(rows), DIMENSION)).astype(np.float32)
            vectors = self.topics_TD[topics] + noise * np.float32(1.2 / np.sqrt(DIMENSION))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            for place, row in enumerate(rows):
                yield Record(id=_id(row), payload=self._payload(row), vector=vectors[place].copy())

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        """Some chunks, without vectors."""
        return [Record(id=one, payload=self._payload(uuid.UUID(one).int)) for one in ids]

    def set_metadata(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Count what would be written."""
        self.written += len(values)

    def _payload(self, row: int) -> dict[str, Any]:
        document = row // CHUNKS_OF_A_DOCUMENT
        words = " ".join(WORDS[(row * 7 + i * i) % len(WORDS)] for i in range(12))
        return {
            KIND: KIND_CHUNK,
            PAGE_CONTENT: words,
            METADATA: {
                "doc_id": f"d{document}",
                "source": f"/notes/folder-{document % 97}/document-{document}.md",
                "title": f"Document {document}",
                "start": 700 * (row % CHUNKS_OF_A_DOCUMENT),
                "end": 700 * (row % CHUNKS_OF_A_DOCUMENT) + len(words),
            },
        }


def _id(row: int) -> str:
    return str(uuid.UUID(int=row))


def measure(count: int, algorithm: Algorithm, k: int | None, folder: Path) -> dict[str, Any]:
    """Cluster so many chunks in this process; seconds by stage, and the highest memory."""
    collection = Planted(count)
    stages: dict[str, float] = {}
    began = last = time.perf_counter()
    stage = "read"
    before = _peak_mb()

    def progress(name: str, done: int, total: int) -> None:
        nonlocal last, stage
        now = time.perf_counter()
        stages[stage] = stages.get(stage, 0.0) + now - last
        last, stage = now, name

    report = cluster_collection(
        cast(Collection, collection),
        Wanted(
            method=Method(algorithm=algorithm, k=k),
            report_folder=folder,
            run_id="benchmark",
            created_at="2025-01-01T00:00:00Z",
        ),
        progress=progress,
    )
    stages["report"] = time.perf_counter() - last
    return {
        "algorithm": algorithm,
        "chunks": count,
        "k": report.k,
        "seconds": round(time.perf_counter() - began, 1),
        "stages": {name: round(seconds, 1) for name, seconds in stages.items()},
        "peak_mb": round(_peak_mb()),
        "above_start_mb": round(_peak_mb() - before),
        "vectors_mb": round(count * DIMENSION * 4 / 1e6),
        "page_mb": round((folder / "clusters.html").stat().st_size / 1e6, 2),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass(frozen=True, slots=True)
class Case:
    """What is clustered, and how."""

    algorithm: Algorithm
    chunks: int
    k: int | None
    """None: it is chosen."""


def as_case(text: str) -> Case:
    """`ALGORITHM:CHUNKS` or `ALGORITHM:CHUNKS:K`.

    Raises:
        ValueError: it is neither.
    """
    name, chunks, *k = text.split(":")
    if name not in get_args(Algorithm) or len(k) > 1:
        raise ValueError(text)
    return Case(cast(Algorithm, name), int(chunks), int(k[0]) if k else None)


def main() -> None:
    """Measure every case, each in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cases",
        type=as_case,
        nargs="+",
        default=[as_case(text) for text in CASES],
        metavar="ALGORITHM:CHUNKS[:K]",
        help=f"without K it is chosen [default: {' '.join(CASES)}]",
    )
    parser.add_argument("--folder", help="where files go: on a disk [default: the system's]")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    if options.child is not None:
        (case,) = options.cases
        print(json.dumps(measure(case.chunks, case.algorithm, case.k, options.child)))
        return
    rows = []
    for case in options.cases:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            text = ":".join(str(part) for part in (case.algorithm, case.chunks, case.k) if part)
            command = [sys.executable, "-m", "benchmarks.clustering", "--child", folder]
            done = subprocess.run(  # noqa: S603
                [*command, "--cases", text], check=True, stdout=subprocess.PIPE, text=True
            )
            row = json.loads(done.stdout)
            row |= {"k_given": case.k is not None}
            row |= {"page": open_page(Path(folder) / "clusters.html")}
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    shape = {"dimension": DIMENSION, "topics": TOPICS, "browser": browser_version()}
    finish("clustering", {**shape, "rows": rows}, file=options.file)


if __name__ == "__main__":
    main()
