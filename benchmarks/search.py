"""What a search costs: `python -m benchmarks.search --sizes 10000,100000,1000000`.

Synthetic chunks in the embedded store; the same questions to each of

- **engine, in process**: the engine's own calls for ten chunks with their payloads, in this very
  process: what a search costs where there is nothing of ours;
- **engine, by its worker**: `Collection.search`, with the way to the process that owns the shard;
- **dense**, **lexical**, **hybrid**: `search.service.search` for ten documents, the query's vector
  given, so that nothing is encoded;
- **end to end**: hybrid with the starter that encodes the query, without and with evidence.

The collection of each size is made once, and kept in `--data`.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks import search_load
from benchmarks.encoder import OneLineParser, whole_number
from benchmarks.results_file import finish
from benchmarks.search_corpus import DIMENSION, Question, SearchCorpus
from embedder.specification import EncoderSpecification, specify
from search.batching import BatchingEncoder
from search.hybrid import Mode
from search.options import SearchOptions
from search.protocols import QueryEncoder
from search.records import Point
from search.service import search
from search.stores.contract import Collection, Manifest
from search.stores.edge import EdgeStore

COLLECTION: Final = "chunks"
LIMIT: Final = 10
BATCH: Final = 4096
BARS: Final = {"overhead_ms": 2.0, "end_to_end_ms": 30.0}
"""At most: ours without encoding over the engine's own calls, p50, one client; and end to end."""
BUILT: Final = "built.json"
_number: Final = whole_number(1, 10**7)
_MODES: Final[tuple[Mode, ...]] = ("dense", "lexical", "hybrid")

Ask = Callable[[Question], object]


class GivenVectors:
    """A `QueryEncoder` that encodes nothing: the questions bring their vectors."""

    name = "given"

    def __init__(self, fingerprint: str, questions: Sequence[Question]) -> None:
        self.fingerprint = fingerprint
        self._vectors = {one.text: one.vector_D[None, :] for one in questions}

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vector of one question, (1, D)."""
        return self._vectors[sentences[0]]


def build(corpus: SearchCorpus, folder: Path, specification: EncoderSpecification) -> None:
    """Write the corpus into a store, index it, and note how long both took."""
    if (folder / BUILT).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    manifest = Manifest(
        name=COLLECTION,
        dimension=DIMENSION,
        fingerprint=specification.fingerprint,
        encoder={"name": specification.name},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    writing: list[Point] = []
    documents: set[str] = set()
    seconds = 0.0
    with closing(EdgeStore(folder)) as store:
        collection = store.create(manifest)

        def write() -> float:
            began = time.perf_counter()
            collection.upsert(writing)
            writing.clear()
            return time.perf_counter() - began

        for point in corpus.points():
            writing.append(point)
            documents.add(point.payload["metadata"]["doc_id"])
            if len(writing) == BATCH:
                seconds += write()
        seconds += write()
        began = time.perf_counter()
        collection.optimize()
        indexing = time.perf_counter() - began
        status = collection.status()
    built = {
        "chunks": status.vectors,
        "documents": len(documents),
        "write_seconds": round(seconds, 1),
        "index_seconds": round(indexing, 1),
        "indexed": status.indexed,
        "bytes": status.bytes,
    }
    (folder / BUILT).write_text(json.dumps(built), encoding="utf-8")


@contextmanager
def engine(folder: Path) -> Iterator[tuple[Ask, Ask]]:
    """The engine in this process: ten chunks by vector; and by vector, then by words."""
    import qdrant_edge as qdrant

    from search import lexical
    from search.stores import edge_engine, edge_shard

    shard = edge_shard.load(folder / COLLECTION)
    parameters = qdrant.SearchParams(hnsw_ef=edge_engine.HNSW_EF)

    def ask(query: Any, using: str, parameters: Any = None) -> object:
        nearest = qdrant.Query.Nearest(query, using=using)
        return shard.query(
            qdrant.QueryRequest(limit=LIMIT, query=nearest, params=parameters, with_payload=True)
        )

    def dense(question: Question) -> object:
        return ask(array("f", question.vector_D.tobytes()).tolist(), edge_shard.DENSE, parameters)

    def both(question: Question) -> object:
        words = qdrant.SparseVector(*lexical.query_vector(question.text))
        return dense(question), ask(words, lexical.BM25)

    try:
        yield dense, both
    finally:
        shard.close()


def ways(
    collection: Collection, given: QueryEncoder, starter: QueryEncoder
) -> Iterator[tuple[str, Ask]]:
    """Everything that goes by the store, each by its name."""
    yield "engine by its worker, dense", lambda one: collection.search(one.vector_D, limit=LIMIT)

    def both(one: Question) -> object:
        return collection.search(one.vector_D, limit=LIMIT), collection.search_words(
            one.text, limit=LIMIT
        )

    yield "engine by its worker, both", both
    for mode in _MODES:

        def ours(one: Question, mode: Mode = mode) -> object:
            return search(collection, given, one.text, limit=LIMIT, mode=mode)

        yield mode, ours
    for name, evidence in (("end to end", False), ("end to end, evidence", True)):
        options = SearchOptions(evidence=evidence)

        def whole(one: Question, options: SearchOptions = options) -> object:
            return search(collection, starter, one.text, limit=LIMIT, options=options)

        yield name, whole


def rows(
    folder: Path, questions: Sequence[Question], starter: QueryEncoder, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Every way, with every number of clients."""
    found = []

    def note(name: str, ask: Ask, engine_pid: int | None = None) -> None:
        for clients in options.clients:
            row = search_load.measure(
                name,
                ask,
                questions,
                clients=clients,
                seconds=options.seconds,
                engine_pid=engine_pid,
            )
            found.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)

    with engine(folder) as (dense, both):
        note("engine in process, dense", dense)
        note("engine in process, both", both)
    with closing(EdgeStore(folder)) as store, closing(BatchingEncoder(starter)) as batching:
        collection = store.open(COLLECTION)
        given = GivenVectors(starter.fingerprint, questions)
        for name, ask in ways(collection, given, batching):
            note(name, ask, collection.worker_pid)
    return found


def overheads(found: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Milliseconds at p50, one client, that ours takes longer than the engine's own calls."""
    p50 = {row["name"]: row["p50_ms"] for row in found if row["clients"] == 1}
    own = {"dense": "engine in process, dense", "hybrid": "engine in process, both"}
    return {
        mode: round(p50[mode] - p50[raw], 3)
        for mode, raw in own.items()
        if mode in p50 and raw in p50
    }


def numbers(text: str) -> list[int]:
    """Whole numbers between commas, each 1 or more."""
    return [_number(part) for part in text.split(",")]


def measured(size: int, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One size: the collection, and every row."""
    from flows.encoders import Queries, load_encoder

    specification = specify("starter")
    corpus = SearchCorpus(size, specification.files.folder / "tokenizer.json")
    folder = place / f"{size}"
    build(corpus, folder, specification)
    questions = corpus.questions(options.questions + search_load.WARM_UP)
    starter = Queries(load_encoder(specification), specification)
    found = rows(folder, questions, starter, options)
    built = json.loads((folder / BUILT).read_text(encoding="utf-8"))
    return {**built, "rows": found, "overhead_ms": overheads(found)}


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; exits with code 2 and one line if it is wrong."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("--sizes", type=numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--clients", type=numbers, default=[1, 16])
    parser.add_argument("--questions", type=_number, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0, help="at most, for each row")
    parser.add_argument("--data", type=Path, help="where collections are kept [default: nowhere]")
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args(arguments)
    if not options.seconds > 0:
        parser.error(f"--seconds {options.seconds:g}: expected more than 0")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every size."""
    options = options_of(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        place = options.data or Path(scratch)
        sizes = [measured(size, place, options) for size in options.sizes]
    finish("search", {"dimension": DIMENSION, "bars": BARS, "sizes": sizes}, file=options.file)


if __name__ == "__main__":
    main()
