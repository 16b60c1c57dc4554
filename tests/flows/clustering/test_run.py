"""From a collection to its report: ids written back, files that hostile text cannot break."""

import json
import re

import numpy as np
import pytest

from flows.clustering.files import write_report
from flows.clustering.markdown import escape, render
from flows.clustering.method import Method
from flows.clustering.report import ClusterReport
from flows.clustering.run import Wanted, cluster_collection
from flows.errors import FlowError, InvalidInput

FILES = {
    *("clusters.html", "clusters.md", "clusters.json", "clusters.csv", "members.csv", "map.txt"),
    *("lineage.json", "history"),
}
EAST, NORTH = [1.0, 0.05], [0.05, 1.0]


def _rows(documents=6):
    """Documents about bread point east, those about orbits north; two chunks each."""
    rows = []
    for number in range(documents):
        bread = number % 3 != 2
        for part in range(2):
            text = f"yeast and dough, loaf {number}" if bread else f"planet in orbit {number}"
            east, north = EAST if bread else NORTH
            rows.append((f"doc{number}", text, [east + 0.01 * number, north + 0.01 * part]))
    return rows


def _cluster(
    collection, folder, *, progress=None, encoder=None, run_id="run-1", state=None, **method
):
    wanted = Wanted(
        method=Method(**method),
        report_folder=folder,
        state_folder=state,
        run_id=run_id,
        created_at="2025-01-02T03:04:05Z",
    )
    options = {"encoder": encoder} | ({"progress": progress} if progress else {})
    return cluster_collection(collection, wanted, **options)


def test_two_topics_become_two_named_clusters(collection_of, tmp_path):
    """Four documents on bread, two on planets: sizes, names, exemplars and top documents."""
    report = _cluster(collection_of(_rows()), tmp_path / "new" / "folder", k=2)
    bread, space = report.clusters
    assert (bread.id, bread.size, bread.documents, bread.share) == (0, 8, 4, 0.6667)
    assert (space.id, space.size, space.documents, space.share) == (1, 4, 2, 0.3333)
    assert {"dough", "yeast"} <= set(bread.keywords)
    assert {"planet", "orbit"} <= set(space.keywords)
    assert len(bread.exemplars) == 4
    assert len({e.doc_id for e in bread.exemplars}) == 4
    assert [d.chunks for d in space.top_documents] == [2, 2]
    assert 0.99 < bread.cohesion <= 1
    assert (report.chunks, report.documents, report.k, report.outliers) == (12, 6, 2, 0)
    assert report.fingerprint == "fp-0123"


def test_the_json_file_holds_the_contract_and_reads_back(collection_of, tmp_path):
    """Keys that others rely on; the model is the file; no partial file is left."""
    report = _cluster(collection_of(_rows()), tmp_path, k=2)
    text = (tmp_path / "clusters.json").read_text(encoding="utf-8")
    data = json.loads(text)
    assert {"collection", "clusters", "outliers", "report"} <= set(data)
    assert isinstance(data["outliers"], int)
    assert data["report"] == str(tmp_path / "clusters.md")
    assert {"id", "size", "name", "keywords", "exemplars"} <= set(data["clusters"][0])
    exemplar = data["clusters"][0]["exemplars"][0]
    assert set(exemplar) == {
        *("id", "doc_id", "title", "source", "start", "end", "snippet", "similarity", "kind")
    }
    assert ClusterReport.model_validate_json(text) == report
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)


def test_every_chunk_gets_its_cluster_and_no_head_does(collection_of, tmp_path):
    """The store's ids add up to the report's sizes; the other metadata stays."""
    collection = collection_of(_rows())
    report = _cluster(collection, tmp_path, k=2)
    assert len(collection.clusters()) == 12
    for cluster in report.clusters:
        assert list(collection.clusters().values()).count(cluster.id) == cluster.size
        for exemplar in cluster.exemplars:
            metadata = collection.points[exemplar.id].payload["metadata"]
            assert metadata["cluster"] == cluster.id
            assert (metadata["start"], metadata["end"]) == (exemplar.start, exemplar.end)


def test_a_second_run_writes_nothing(collection_of, tmp_path):
    """Same vectors, same seed, same ids and names: no point is touched; all files are equal."""
    collection = collection_of(_rows())
    _cluster(collection, tmp_path)
    collection.written.clear()
    _cluster(collection, tmp_path)
    second = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    report = _cluster(collection, tmp_path)
    assert collection.written == []
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == second
    assert [cluster.fate for cluster in report.clusters] == ["steady", "steady"]
    assert report.changes == ()


def test_a_broken_run_is_put_right_by_the_next(collection_of, tmp_path):
    """Marks of half a run are overwritten: the groups are those of a whole one, named alike."""
    collection, whole = collection_of(_rows()), collection_of(_rows())
    _cluster(whole, tmp_path / "whole", k=2)
    for point_id in sorted(whole.clusters())[:5]:
        collection.set_metadata({point_id: {"cluster": 7}})
    _cluster(collection, tmp_path / "broken", k=2)
    assert _groups(collection) == _groups(whole)
    names = {p.payload["metadata"].get("cluster_name") for p in collection.points.values()}
    assert names - {None} == {
        p.payload["metadata"].get("cluster_name") for p in whole.points.values()
    } - {None}


def _groups(collection):
    groups = {}
    for point_id, cluster in collection.clusters().items():
        groups.setdefault(cluster, set()).add(point_id)
    return sorted(map(sorted, groups.values()))


def test_progress_reaches_its_total(collection_of, tmp_path):
    """Each stage is called with done <= total and ends with both equal."""
    calls = {}

    def progress(stage, done, total):
        assert 0 <= done <= total
        calls[stage] = (done, total)

    _cluster(collection_of(_rows()), tmp_path, k=2, progress=progress)
    assert list(calls) == ["read", "fit", "stability", "texts", "names", "write", "map"]
    assert all(done == total for done, total in calls.values())


def test_an_empty_collection_is_an_error_with_a_remedy(collection_of, tmp_path):
    """Nothing to cluster is said, and no report is written over an older one."""
    with pytest.raises(FlowError, match="'notes' holds no chunks to cluster; ingest"):
        _cluster(collection_of([]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_more_clusters_than_chunks_are_refused(collection_of, tmp_path):
    """A k that cannot be is refused before anything is written."""
    collection = collection_of(_rows())
    with pytest.raises(InvalidInput, match="k=13 clusters asked of 12"):
        _cluster(collection, tmp_path, k=13)
    assert collection.written == []


def test_a_chunk_without_its_document_is_named(collection_of, tmp_path):
    """A payload that another program wrote: which chunk, which key, what to do."""
    collection = collection_of(_rows())
    point_id = min(i for i, p in collection.points.items() if p.vector is not None)
    del collection.points[point_id].payload["metadata"]["source"]
    with pytest.raises(FlowError, match=rf"{point_id}.*metadata.source.*ingest"):
        _cluster(collection, tmp_path)


def test_a_folder_that_cannot_be_made_stops_the_run_early(collection_of, tmp_path):
    """Before the work, not after it."""
    (tmp_path / "file").write_text("in the way")
    collection = collection_of(_rows())
    with pytest.raises(FlowError, match="cannot write the report into"):
        _cluster(collection, tmp_path / "file")
    assert collection.written == []


HOSTILE = (
    "<script>alert('dough')</script> | yeast | `code` [link](javascript:alert(1)) ![i](x)\n"
    "\n# Heading\n- item\n> quote\n```\n***bold*** &lt; \u202egnp.exe \x1b[31m $x$ ~~no~~ <!-- \\"
)


def test_hostile_text_stays_text(collection_of, tmp_path):
    """No tag, cell, heading, link, code, list or control character of a document is live."""
    rows = [(f"evil|{n}<b>", f"{HOSTILE} {n}", [1, 0.01 * n]) for n in range(9)]
    rows.append(("far", "an odd \udc80 one", [-1.0, 1.0]))
    titles = {row[0]: f"<img src=x onerror=alert(1)>|`{row[0]}`\n## Own heading" for row in rows}
    report = _cluster(collection_of(rows, titles=titles), tmp_path, k=1)
    assert report.outliers == 1
    assert report.outlier_examples[0].doc_id == "far"
    markdown = (tmp_path / "clusters.md").read_text(encoding="utf-8")
    for live in ("<script", "<img", "<b>", "<!--", "\u202e", "\x1b", "```"):
        assert live not in markdown
    assert not re.search(r"(?<!\\)[`\[\]$~]", markdown)
    headings = [line for line in markdown.splitlines() if line.startswith("#")]
    assert [h.split()[1] for h in headings] == ["Clusters", "Cluster", "Outliers", "This"]
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {9}
    json.loads((tmp_path / "clusters.json").read_text(encoding="utf-8"))


def test_the_markdown_lists_documents_only_where_they_have_several_chunks(collection_of, tmp_path):
    """A list of documents with one chunk each would say nothing."""
    _cluster(collection_of(_rows()), tmp_path, k=2)
    assert "- **doc2** — doc2.md, 2 chunks" in (tmp_path / "clusters.md").read_text()
    _cluster(collection_of([(f"d{n}", "some words", [1, n]) for n in range(4)]), tmp_path, k=2)
    assert "most chunks" not in (tmp_path / "clusters.md").read_text()


def test_escape_leaves_plain_text_alone():
    """Escaping is for what is live, so that the raw file stays readable."""
    assert escape("Plain text, with (brackets): 100% fine - e.g. a/b.md #3!") == (
        "Plain text, with (brackets): 100% fine - e.g. a/b.md #3!"
    )
    assert escape("a\\|b") == "a\\\\\\|b"


def test_the_report_says_how_k_came_about(collection_of, tmp_path):
    """Chosen: with the table of scores. Given, but not reached: both numbers."""
    chosen = _cluster(collection_of(_rows()), tmp_path)
    assert chosen.k == 2
    assert "k chosen by silhouette among" in render(chosen)
    assert "## How k was chosen" in render(chosen)
    same = collection_of([(f"d{n}", "same words", [1, 0]) for n in range(4)])
    assert "k given as 3, but the vectors part into no more than 1" in render(
        _cluster(same, tmp_path, k=3)
    )
    single = collection_of([("d", "one", [1, 0])])
    assert "1 cluster by k-means on directions (nothing to choose from)" in render(
        _cluster(single, tmp_path)
    )


def test_an_old_report_survives_a_failed_write(collection_of, tmp_path, monkeypatch):
    """The disk fills up during the write: the old file is whole, nothing is left over."""
    report = _cluster(collection_of(_rows()), tmp_path, k=2)
    old = (tmp_path / "clusters.md").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FlowError, match="No space left"):
        write_report(report.model_copy(update={"collection": "other"}), tmp_path)
    assert (tmp_path / "clusters.md").read_bytes() == old
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_an_ingest_that_goes_on_meanwhile_breaks_nothing(collection_of, tmp_path, monkeypatch):
    """Chunks added after the count was taken are clustered, too."""
    collection = collection_of(_rows())
    monkeypatch.setattr(collection, "count", lambda where=None: 3)
    assert _cluster(collection, tmp_path, k=2).chunks == 12


def test_reports_of_planted_topics_are_the_same_in_any_order_of_insertion(collection_of, tmp_path):
    """The store's order of insertion leaves no trace in the file."""
    random = np.random.default_rng(0)
    rows = _rows(20)
    _cluster(collection_of(rows), tmp_path)
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    by_document = {row[0]: [r for r in rows if r[0] == row[0]] for row in rows}
    shuffled = [by_document[name] for name in random.permutation(sorted(by_document))]
    (tmp_path / "lineage.json").unlink()
    _cluster(collection_of([row for group in shuffled for row in group]), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == first
