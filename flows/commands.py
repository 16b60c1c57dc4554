"""What the commands do, between the options that were read and the results that are printed."""

import os
import sys
import time
from pathlib import Path
from typing import IO, Any

from flows.arenas import limit_arenas
from flows.errors import FlowError, InvalidInput
from flows.ingestion import Ingestion, IngestReport, IngestRequest, recording
from flows.orchestration import PrefectAPI, no_heartbeat
from flows.preview import Preview, preview
from flows.progress import Progress
from flows.session import DEFAULT_ENCODER, Session, running
from flows.settings import Settings
from flows.state import prefect_home
from flows.stores import store_of
from search.filters import of_kind
from search.records import KIND_CHUNK, KIND_HEAD, KIND_QUARANTINE


def run_plan(request: IngestRequest, progress: Progress) -> Preview:
    """Compare, and say what an ingest would do. Writes nothing, starts nothing, loads no model."""
    with running(request.target) as session:
        session.progress = progress
        return preview(request, session)


def run_ingest(request: IngestRequest, progress: Progress) -> IngestReport:
    """Compare, and run the flow if there is anything to do.

    A run that finds everything unchanged starts neither Prefect nor torch.
    """
    limit_arenas()
    with running(request.target) as session:
        session.progress = progress
        with recording(request, session):
            return _carry_out(request, session)


def _carry_out(request: IngestRequest, session: Session) -> IngestReport:
    progress = session.progress
    ingestion = Ingestion.begin(request, session)
    if ingestion.plan.is_done:
        return ingestion.finish()
    api = PrefectAPI.start(prefect_home(request.target.store))
    if ingestion.plan.store:
        progress.stage(f"loading encoder {session.specification.name}")
        session.parsers()  # they come up meanwhile
        session.chunker()  # refuses settings that do not fit the encoder
        session.require_canary()
    progress.stage("starting Prefect")
    api.wait()
    api.end_with_it()
    from flows.ingest import ingest_flow

    with no_heartbeat():
        return ingest_flow(request)


def run_encode(
    settings: Settings, kind: str, out: str, lines: IO[bytes], *, quiet: bool
) -> dict[str, Any]:
    """Encode one text a line into `out`; row i belongs to line i."""
    from embedder.specification import specify

    if kind not in ("query", "document"):
        raise InvalidInput(f"--kind {kind!r}: expected query or document")
    path = Path(out)
    if path.suffix != ".npy":
        raise InvalidInput(f"--out {out!r}: expected a file name that ends in .npy")
    if not path.parent.is_dir():
        raise InvalidInput(f"--out {out!r}: its folder does not exist; make it first")
    specification = specify(settings.encoder or DEFAULT_ENCODER)
    try:
        texts = lines.read().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"standard input is not UTF-8 at byte {error.start}; convert it first"
        ) from None
    texts = [text.removesuffix("\r") for text in (texts[:-1] if texts[-1] == "" else texts)]
    if not texts:
        raise InvalidInput("standard input is empty; expected one text a line")

    import numpy as np

    from embedder.encoder import Encoder

    model = Encoder(specification)
    began = time.perf_counter()
    encoding = model.encode_with_counts(
        texts,
        prompt_name="query" if kind == "query" else "document",
        show_progress_bar=not quiet and sys.stderr.isatty(),
    )
    seconds = time.perf_counter() - began
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.npy")
    try:
        np.save(temporary, encoding.vectors)
        temporary.replace(path)
    except OSError as error:
        raise FlowError(
            f"cannot write {out!r}: {error.strerror}; check rights and space"
        ) from error
    return {
        "encoder": specification.name,
        "fingerprint": specification.fingerprint,
        "kind": kind,
        "texts": len(texts),
        "dimension": model.dimension,
        "tokens": int(encoding.tokens.sum()),
        "truncated": int(encoding.truncated.sum()),
        "seconds": round(seconds, 3),
        "out": out,
    }


def describe_collection(name: str, settings: Settings) -> dict[str, Any]:
    """What a collection holds and which encoder built it."""
    store = store_of(settings)
    try:
        collection = store.open(name)
        manifest = collection.manifest
        status = collection.status()
        return {
            "name": name,
            "version": manifest.name,
            "store": store.location,
            "documents": collection.count(of_kind(KIND_HEAD)),
            "chunks": collection.count(of_kind(KIND_CHUNK)),
            "quarantined": collection.count(of_kind(KIND_QUARANTINE)),
            "indexed": status.indexed,
            "worded": status.worded,
            "bytes": status.bytes,
            "storage": manifest.storage.model_dump(),
            "dimension": manifest.dimension,
            "encoder": manifest.encoder,
            "fingerprint": manifest.fingerprint,
            "schema_version": manifest.schema_version,
            "created_at": manifest.created_at,
        }
    finally:
        store.close()
