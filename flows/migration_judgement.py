"""Taking the evidence: each encoder encodes the queries, one after the other, then both are asked.

The encoders come first, because loading one takes long, and the old version is open only while it
answers: a process has room for one model, and others want that version.
"""

from collections.abc import Sequence

import numpy as np

from embedder.canary import check_canary
from embedder.errors import CanaryDrift, EmbedderError
from embedder.precision import Float32
from embedder.specification import EncoderSpecification
from flows.encoders import Queries, in_encoder_thread, load_encoder
from flows.errors import FlowError
from flows.migration_documents import NewVersion
from flows.migration_evidence import Evidence, Query, answers, compare, sample_queries
from flows.migration_index import Difference
from flows.migration_request import Course
from flows.progress import Progress
from search.collections import encoder_name
from search.filters import of_kind
from search.records import KIND_CHUNK
from search.stores.contract import Collection

QUERIES_AT_ONCE = 32


class Judgement:
    """The queries of one comparison, encoded; `ask` first, then `evidence`."""

    def __init__(self, course: Course, progress: Progress) -> None:
        """Encodes nothing yet.

        Args:
            course: Which versions and encoders.
            progress: Is told what happens.
        """
        self._course = course
        self._progress = progress
        self._queries: tuple[Query, ...] = ()
        self._new_QD: Float32 = np.empty((0, 0), dtype=np.float32)
        self._old_QD: Float32 | None = None
        self._notes: list[str] = []

    def ask(self, version: NewVersion, given: Sequence[Query], *, sample: int) -> None:
        """Choose the queries and encode them, by the new encoder and by the old one.

        Args:
            version: The new one, from which queries are sampled.
            given: Queries of a file; may be empty.
            sample: How many to sample.

        Raises:
            EmbedderError: the new encoder fails. The old one's failure becomes a note.
        """
        sampled = sample_queries(version.collection, version.heads, count=sample)
        self._queries = (*given, *sampled)
        self._notes = []
        self._new_QD = self._encode(self._course.encoder)
        self._old_QD = None
        old, built_by = self._course.old_encoder, encoder_name(self._course.old)
        if old is None:
            self._notes.append(
                f"encoder {built_by!r}, which built the old version, is gone or has changed: "
                "there is nothing to compare with"
            )
            return
        try:
            self._old_QD = self._encode(old)
            encoder = load_encoder(old)
            in_encoder_thread(lambda: check_canary(encoder, self._course.old.canary))
        except CanaryDrift as drift:
            self._notes.append(f"the old version's figures may be off: {drift}")
        except (EmbedderError, FlowError) as error:
            self._notes.append(f"encoder {built_by!r} cannot be asked: {error}")

    def evidence(
        self, old: Collection, version: NewVersion, behind: Difference, *, taken_at: str
    ) -> Evidence:
        """Ask both versions, and compare.

        Args:
            old: The old version, open.
            version: The new one.
            behind: Their difference, which is empty, for its counts.
            taken_at: ISO 8601, UTC.
        """
        self._progress.stage("comparing answers")
        old_chunks = old.count(of_kind(KIND_CHUNK))
        new_chunks = version.collection.count(of_kind(KIND_CHUNK))
        documents = sum(head.whole for head in version.heads.values())
        if behind.unfinished:
            self._notes.append(
                f"{behind.unfinished} documents are half-written in the old version and are left "
                "as they were; finish the ingest that began them"
            )
        if version.left_out:
            self._notes.append(
                f"{len(version.left_out)} documents do not fit the new encoder: they are in the "
                "new version's quarantine"
            )
        if old_chunks != new_chunks and not (behind.unfinished or version.left_out):
            self._notes.append(
                f"the old version holds {old_chunks - new_chunks} chunks that no document tells of"
            )
        return compare(
            self._queries,
            None if self._old_QD is None else answers(old, self._old_QD),
            answers(version.collection, self._new_QD),
            old={
                "version": old.manifest.name,
                "encoder": encoder_name(old.manifest),
                "documents": behind.documents,
                "chunks": old_chunks,
            },
            new={
                "version": version.collection.manifest.name,
                "encoder": encoder_name(version.collection.manifest),
                "documents": documents,
                "chunks": new_chunks,
            },
            notes=self._notes,
            taken_at=taken_at,
        )

    def _encode(self, specification: EncoderSpecification) -> Float32:
        """The queries' vectors, (Q, D)."""
        texts = [query.text for query in self._queries]
        self._progress.stage(f"encoding queries with {specification.name}", len(texts))
        if not texts:
            return np.empty((0, specification.dimension), dtype=np.float32)
        encoder = Queries(load_encoder(specification), specification)
        parts = []
        for start in range(0, len(texts), QUERIES_AT_ONCE):
            parts.append(encoder.encode_query(texts[start : start + QUERIES_AT_ONCE]))
            self._progress.advance(len(parts[-1]))
        return np.concatenate(parts)
