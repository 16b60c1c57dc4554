"""A migration, step by step: another encoder's version of a collection, made beside the old one.

    next_round   what differs is copied out of the old version into the spool
    store_part   ... embedded from there and stored in the new one, while the old one is free
    end_round    what vanished is removed; and again, until nothing differs
    conclude     both versions answer the same queries; the alias moves if that was asked for

Each step may be killed: what is found differing is done again, the rest is not.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from pydantic import SecretStr

from flows.encoders import load_encoder
from flows.errors import FlowError
from flows.migration_documents import NewVersion, Stored, store_spooled, too_long
from flows.migration_evidence import Query, read_queries
from flows.migration_index import Difference, copy_others, digest_of
from flows.migration_judgement import Judgement
from flows.migration_report import LeftOut, MigrationReport
from flows.migration_request import MigrationRequest, course_of, noted, settled, version_in_use
from flows.migration_spool import Spool, SpooledDocument
from flows.migration_state import MigrationFolder, MigrationState, utc_now
from flows.migration_unfit import Unfit, unfit_error
from flows.migration_versions import Versions
from flows.progress import Progress, Silent
from search.records import METADATA
from search.stores.contract import Collection
from search.stores.locate import open_store
from search.stores.server_options import ServerOptions

if TYPE_CHECKING:
    from embedder.encoder import Encoder

MOST_ROUNDS: Final = 8
"""Comparisons that may find a difference: a collection that is written to all the time has no
moment to switch at."""
WRITE_BATCH: Final = 1000


@dataclass(kw_only=True)
class Migration:
    """One run of a migration; `close` when done."""

    request: MigrationRequest
    versions: Versions
    folder: MigrationFolder
    state: MigrationState
    queries: tuple[Query, ...]
    """Those of a file."""
    progress: Progress
    run_id: str = field(default_factory=lambda: uuid4().hex[:12])
    rounds: int = 0
    """How many have found something to do."""
    _spool: Spool = field(init=False)
    _stored: Stored = field(default_factory=Stored)
    _removed: int = 0
    _gone: frozenset[str] = frozenset()
    _unfit: dict[str, Unfit] = field(default_factory=dict)
    """Of this round, by document."""
    _left_out: list[LeftOut] = field(default_factory=list)
    _incomplete: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    """Documents whose chunks were not those of their head: its digest, and the round."""
    _waiting: int = 0
    """Documents of the spool that are to be done."""
    _in_round: bool = False
    _checked: bool = False
    """Whether the encoder was held against the version's canary."""
    _began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        """The spool lies in the migration's folder."""
        self._spool = Spool(self.folder.path)

    @classmethod
    def open(
        cls,
        request: MigrationRequest,
        *,
        api_key: SecretStr | None = None,
        server: ServerOptions | None = None,
        progress: Progress | None = None,
    ) -> "Migration":
        """Resolve what is asked for, and keep other migrations out; opens no collection.

        Raises:
            InvalidInput, FlowError, SearchError, EmbedderError: see `course_of`.
        """
        progress = progress or Silent()
        queries = read_queries(request.queries) if request.queries is not None else ()
        with ExitStack() as stack:
            store = open_store(request.store, api_key=api_key, server=server)
            stack.callback(store.close)
            in_use = version_in_use(store, request.collection)
            folder = MigrationFolder(request.store, request.collection, location=store.location)
            folder.acquire()
            stack.callback(folder.release)
            state = settled(folder.read(), store, in_use.name)
            course = course_of(request, store, state)
            stack.pop_all()
        return cls(
            request=request,
            versions=Versions(store, request.collection, course, progress),
            folder=folder,
            state=state,
            queries=queries,
            progress=progress,
        )

    def next_round(self) -> bool:
        """Look for what is to be done, and copy it out of the old version; False: nothing is.

        Called again before `end_round`, it says the same.

        Raises:
            FlowError: the collection keeps changing; documents do not fit the new encoder; there
                is no room.
            StoreInUse: another process has a version open, and keeps it.
        """
        if self._in_round:
            return True
        resumed = self._spool.find(self.versions.course.old.name)
        if not resumed and not self._look():
            return False
        if self.rounds == MOST_ROUNDS:
            raise FlowError(
                f"collection {self.request.collection!r} has changed {MOST_ROUNDS} times while it "
                "was migrated; wait until nothing writes to it, then run the same command again: "
                "little is left to do"
            )
        self.rounds += 1
        unfit = self._too_long()
        if unfit and resumed:  # what the spool holds may have been ingested again since
            self._spool.drop()
            if not self._look():
                return False
            unfit = self._too_long()
        if unfit and not self.request.skip_unfit:
            self._spool.drop()
            raise self._unfit_error(unfit, "nothing of this was embedded")
        self._unfit = {one.document.doc_id: one for one in unfit}
        self._ensure_version()
        self.versions.begin_loading()
        self.progress.stage("embedding documents", self._waiting)
        self._in_round = True
        return True

    def parts(self) -> range:
        """The numbers of this round's parts."""
        return range(len(self._spool.parts))

    def store_part(self, number: int) -> None:
        """Embed and store one part of the spool; what is stored already costs nothing.

        Raises:
            SearchError: the store failed; the part can be done again.
            FlowError: the spool is damaged.
        """
        version = self._ensure_version()
        documents = []
        for document in self._spool.documents(number):
            if document.doc_id in self._unfit:
                continue
            if document.missing and self._may_be_changing(document):
                continue  # the next round looks again
            documents.append(document)
        stored = store_spooled(
            documents,
            version,
            self._encoder(),
            advance=lambda count, chunks: self.progress.advance(count, chunks=chunks),
        )
        self._stored += stored
        self._unfit |= {one.document.doc_id: one for one in stored.unfit}
        self._note(done=_whole(version))

    def end_round(self) -> None:
        """Remove what vanished; put into quarantine what does not fit, where that is allowed.

        Raises:
            FlowError: documents do not fit, and that was not allowed; the others are stored.
        """
        version = self._ensure_version()
        self._in_round = False
        for doc_id in sorted(self._gone):
            version.remove(doc_id)
        self._removed += len(self._gone)
        self._gone = frozenset()
        self._spool.drop()
        unfit = list(self._unfit.values())
        self._unfit = {}
        if unfit and not self.request.skip_unfit:
            raise self._unfit_error(unfit, "all others are stored")
        for start in range(0, len(unfit), WRITE_BATCH):
            version.collection.upsert(
                [one.point(self.run_id) for one in unfit[start : start + WRITE_BATCH]]
            )
        self._left_out += [LeftOut(source=one.source, reason=one.reason) for one in unfit]

    def conclude(self) -> MigrationReport | None:
        """Take the evidence, and switch if asked to; None: something changed meanwhile.

        Raises:
            FlowError: the new version does not hold what its documents tell of.
            SearchError: a version cannot be read, or the alias not be moved.
        """
        version = self._ensure_version()
        self.versions.end_loading()
        self.progress.stage("indexing")
        version.collection.optimize()
        judgement = Judgement(self.versions.course, self.progress)
        judgement.ask(version, self.queries, sample=self.request.sample)
        with self.versions.old() as old:
            behind = self.versions.compare(old)
            if not behind.is_empty:
                self._fill_spool(old, behind)
                return None
            copy_others(old, version.collection, self.versions.old_heads)
            self.versions.refuse_miscounted(version)
            evidence = judgement.evidence(old, version, behind, taken_at=utc_now())
            path = self.folder.write_evidence(evidence)
            self._note(ready=True, documents=behind.documents, done=_whole(version))
            refusal = None
            if self.request.min_overlap is not None:
                refusal = evidence.refusal(self.request.min_overlap)
            switched = self.request.wants_switch and refusal is None
            if switched:
                self._switch(version.collection.manifest.name)
        return MigrationReport(
            collection=self.request.collection,
            old=self.versions.course.old.name,
            new=version.collection.manifest.name,
            encoder=self.versions.course.encoder.name,
            documents=self._stored.documents,
            chunks=self._stored.chunks,
            removed=self._removed,
            left_out=tuple(self._left_out),
            rounds=self.rounds,
            seconds=round(time.perf_counter() - self._began, 3),
            evidence=evidence,
            evidence_file=str(path),
            switched=switched,
            refusal=refusal or "",
            run_id=self.run_id,
        )

    def close(self) -> None:
        """Close the store, and let other migrations in."""
        try:
            self.versions.close()
        finally:
            self.folder.release()

    def _look(self) -> bool:
        """Compare the versions, and copy what differs; False if nothing does."""
        with self.versions.old() as old:
            behind = self.versions.compare(old)
            if behind.is_empty:
                return False
            self._fill_spool(old, behind)
        return True

    def _fill_spool(self, old: Collection, behind: Difference) -> None:
        self.versions.refuse_too_little_room(behind)
        self._gone = behind.gone
        self.progress.stage(f"copying texts of {old.manifest.name}", behind.chunks)
        self._spool.fill(old, behind.changed, chunks=behind.chunks, advance=self.progress.advance)
        self._note(documents=behind.documents, ready=False)

    def _may_be_changing(self, document: SpooledDocument) -> bool:
        """Whether chunks that are not those of the head are seen for the first time."""
        digest = digest_of(document.head[METADATA])
        seen, in_round = self._incomplete.get(document.doc_id, (b"", 0))
        if seen == digest and in_round < self.rounds:
            return False
        self._incomplete[document.doc_id] = (digest, self.rounds)
        return True

    def _too_long(self) -> list[Unfit]:
        """Documents of the spool that the new encoder would cut."""
        encoder, version = self._encoder(), self.versions.existing()
        self.progress.stage("counting tokens")
        found: list[Unfit] = []
        self._waiting = 0
        for number in self.parts():
            documents = self._spool.documents(number)
            if version is not None:
                documents = [one for one in documents if not version.holds(one)]
            self._waiting += len(documents)
            found += too_long(documents, encoder, self.progress.advance)
        return sorted(found, key=lambda one: one.document.doc_id)

    def _unfit_error(self, unfit: Sequence[Unfit], rest: str) -> FlowError:
        return unfit_error(unfit, encoder=self.versions.course.encoder.name, rest=rest)

    def _encoder(self) -> "Encoder":
        return load_encoder(self.versions.course.encoder)

    def _ensure_version(self) -> NewVersion:
        version = self.versions.existing()
        if version is None or not self._checked:
            self._note()
            self.progress.stage(f"loading encoder {self.versions.course.encoder.name}")
            version = self.versions.ensure(self._encoder(), created_at=utc_now())
            self._checked = True
            self._note(new=version.collection.manifest.name)
        return version

    def _note(self, **changes: Any) -> None:
        """Remember where the migration stands."""
        self.state = noted(self.state, self.versions.course, **changes)
        self.folder.write(self.state)

    def _switch(self, new: str) -> None:
        self.versions.store.set_alias(self.request.collection, new)
        self.state = self.state.switched(self.versions.course.old.name, new)
        self.folder.write(self.state)


def _whole(version: NewVersion) -> int:
    return sum(head.whole for head in version.heads.values())
