"""What clustering costs: `python -m benchmarks.clustering --sizes 10000 100000 1000000`.

Synthetic chunks around planted topics, made again at every read, so that only what the clustering
keeps takes memory; each size in a process of its own, whose highest resident memory is told. With
`--browser PROGRAM` (Chromium) and playwright installed, also how long the page takes to open and
draw its map.
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
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.results_file import finish
from flows.clustering.method import Algorithm, Method
from flows.clustering.run import Wanted, cluster_collection
from search.filters import Filter
from search.records import KIND, KIND_CHUNK, METADATA, PAGE_CONTENT, Record
from search.stores.contract import Collection, Manifest

DIMENSION = 384
TOPICS = 40
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


def open_page(page: Path, browser: str) -> dict[str, Any]:
    """Seconds until the page is loaded, and until its map is drawn, in headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser)
        view = chromium.new_page()
        began = time.perf_counter()
        view.goto(page.as_uri())
        loaded = time.perf_counter() - began
        view.wait_for_function("document.documentElement.dataset.map === 'drawn'")
        drawn = time.perf_counter() - began
        frame = view.evaluate(
            """async () => {
                const began = performance.now();
                for (let i = 0; i < 10; i += 1) {
                    document.getElementById('zoom-in').click();
                    await new Promise(requestAnimationFrame);
                    await new Promise(requestAnimationFrame);
                }
                return (performance.now() - began) / 10;
            }"""
        )
        chromium.close()
    return {
        "loaded_seconds": round(loaded, 2),
        "drawn_seconds": round(drawn, 2),
        "zoom_step_ms": round(frame, 1),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure every size, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--algorithm", default="kmeans")
    parser.add_argument("--k", type=int)
    parser.add_argument("--browser")
    parser.add_argument("--folder", help="where files go: on a disk [default: the system's]")
    parser.add_argument("--child", type=Path)
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(measure(options.sizes[0], options.algorithm, options.k, options.child)))
        return
    rows = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            command = [sys.executable, "-m", "benchmarks.clustering", "--child", folder]
            command += ["--sizes", str(size), "--algorithm", options.algorithm]
            command += ["--k", str(options.k)] if options.k else []
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
            row = json.loads(done.stdout)
            if options.browser:
                row["page"] = open_page(Path(folder) / "clusters.html", options.browser)
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    finish("clustering", {"dimension": DIMENSION, "rows": rows}, file=options.file)


if __name__ == "__main__":
    main()
