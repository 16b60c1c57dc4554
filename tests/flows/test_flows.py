"""The flows under Prefect, in this process, over a real store: one API for all of them."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import plan
from flows.clustering_command import run_cluster
from flows.commands import run_ingest
from flows.ingestion import IngestReport, IngestRequest
from flows.orchestration import PrefectAPI
from flows.progress import Silent
from flows.searching import searching
from flows.session import Session, Target, running
from flows.settings import load_settings
from search.errors import StoreUnavailable
from search.filters import where

pytestmark = pytest.mark.usefixtures("prefect_api", "letters")

RequireSame = Callable[[Target, Target], None]


def ingest(target: Target, *sources: Path) -> IngestReport:
    request = IngestRequest(sources=tuple(str(source) for source in sources), target=target)
    return run_ingest(request, Silent())


def test_an_ingest_from_end_to_end(
    target: Target, corpus: Path, require_same: RequireSame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several partitions at once, a bad document, a change, a removal; then nothing to do."""
    monkeypatch.setattr(plan, "PARTITION_DOCUMENTS", 1)
    (corpus / "junk.md").write_bytes(bytes(range(256)) * 40)
    report = ingest(target, corpus)
    counts = report.documents
    assert (counts.seen, counts.stored, counts.unchanged, counts.removed) == (5, 4, 0, 0)
    assert [Path(entry.source).name for entry in report.quarantine] == ["junk.md"]
    assert (report.collection, report.tokens > 0) == ("notes", True)

    (corpus / "junk.md").unlink()
    (corpus / "sub" / "rivers.txt").unlink()
    (corpus / "bread.md").write_text("# Bread\n\nSourdough needs no yeast.\n")
    report = ingest(target, corpus)
    counts = report.documents
    assert (counts.seen, counts.stored, counts.unchanged, counts.removed) == (3, 1, 2, 1)
    assert report.quarantine == ()

    fresh = target.model_copy(update={"collection": "fresh"})
    ingest(fresh, corpus)
    require_same(target, fresh)

    report = ingest(target, corpus)
    assert (report.documents.unchanged, report.chunks.stored, report.tokens) == (3, 0, 0)


def test_a_failure_that_passes_is_tried_again(
    target: Target, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away for a moment costs a retry, not the run."""
    ensure = Session.ensure_collection
    failures = iter([StoreUnavailable("restarting")])

    def flaky(session: Session) -> Any:
        for failure in failures:
            raise failure
        return ensure(session)

    monkeypatch.setattr(Session, "ensure_collection", flaky)
    assert ingest(target, corpus).documents.stored == 4


@pytest.mark.slow
def test_a_failure_that_stays_ends_the_run_with_its_own_error(
    target: Target, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with Prefect's, not in a hang, and the next run works."""
    with monkeypatch.context() as patch:

        def dead(session: Session) -> Any:
            raise StoreUnavailable("the engine died")

        patch.setattr(Session, "ensure_collection", dead)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="the engine died"):
            ingest(target, corpus)
        assert time.monotonic() - began < 90
    assert ingest(target, corpus).documents.stored == 4


def test_a_defect_is_not_tried_again(
    target: Target, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what may pass is retried: anything else would fail four times as slowly."""
    calls = []

    def broken(session: Session) -> Any:
        calls.append(session)
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Session, "ensure_collection", broken)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        ingest(target, corpus)
    assert len(calls) == 1


def test_clusters_are_written_back_and_can_be_searched(
    target: Target, corpus: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    """Every chunk has its cluster; the report counts them; a filter finds them."""
    ingest(target, corpus)
    elsewhere = target.model_copy(update={"encoder": "no-such-encoder"})
    report = run_cluster(elsewhere, Silent(), k=2, seed=0, report=str(tmp_path / "report"))
    assert [cluster.id for cluster in report.clusters] == [0, 1]
    assert sum(cluster.size for cluster in report.clusters) == report.chunks
    assert Path(report.report).read_text().startswith("#")
    with running(target) as session:
        counts = [session.existing_collection().count(where("cluster", i)) for i in (0, 1)]
    assert counts == [cluster.size for cluster in report.clusters]


def test_prefect_keeps_quiet(
    target: Target,
    corpus: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run writes nothing to either stream that Sextant did not mean to."""
    ingest(target, corpus)
    assert capfd.readouterr() == ("", "")
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_a_process_has_one_api(prefect_api: PrefectAPI) -> None:
    """A second start in the same process is the same API, wherever it is asked for."""
    assert PrefectAPI.start(Path("/nowhere")) is prefect_api
    prefect_api.wait()


def test_a_search_after_an_ingest(target: Target, corpus: Path) -> None:
    """The command's own path: store, encoder, hits."""
    ingest(target, corpus)
    with searching(load_settings(store=target.store, collection=target.collection)) as place:
        result = place.search("A river carries sand", mode="hybrid", limit=2)
        assert place.encoder.name == target.encoder
    assert [hit.rank for hit in result.hits] == [1, 2]
    assert len({hit.doc_id for hit in result.hits}) == 2
    assert result.hits[0].doc_id == "notes/sub/rivers.txt"
