"""The encoder alone, over what an ingest has encoded: `python -m benchmarks.ingest_encoding`.

    ingest_encoding STORE SLICES

Texts are read back from the store, in the order and in the groups in which the ingest encoded them,
and encoded again, by the same encoder, with nothing beside it. Prints one JSON object.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.ingest_contents import COLLECTION
from benchmarks.ingest_run import text_digest
from flows.documents.context import embedded_text
from flows.encoders import encode_chunks, load_encoder
from flows.session import encoder_of
from flows.vectors import CONTEXT
from search.filters import of_kind
from search.records import KIND_CHUNK, METADATA, PAGE_CONTENT
from search.stores.contract import Collection
from search.stores.locate import open_store


def texts_by_digest(collection: Collection) -> dict[str, str]:
    """What was embedded for each chunk."""
    found = {}
    for record in collection.scroll(where=of_kind(KIND_CHUNK)):
        context = record.payload[METADATA].get(CONTEXT, "")
        text = embedded_text(context, record.payload[PAGE_CONTENT])
        found[text_digest(text)] = text
    return found


def measure(store: Path, slices: list[list[str]]) -> dict[str, Any]:
    """Seconds of encoding, the model loaded and warm."""
    place = open_store(store)
    collection = place.open(COLLECTION)
    specification = encoder_of(collection.manifest, None)
    known = texts_by_digest(collection)
    place.close()
    groups = [[known[digest] for digest in digests] for digests in slices]
    encoder = load_encoder(specification)
    encode_chunks(encoder, groups[0])
    began, cpu = time.perf_counter(), time.process_time()
    for group in groups:
        encode_chunks(encoder, group)
    return {
        "texts": sum(map(len, groups)),
        "slices": len(groups),
        "seconds": round(time.perf_counter() - began, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("slices", type=Path)
    options = parser.parse_args()
    slices = json.loads(options.slices.read_text(encoding="utf-8"))
    json.dump(measure(options.store, slices), sys.stdout)


if __name__ == "__main__":
    main()
