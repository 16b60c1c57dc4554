"""Names: chosen by what a search for them finds, kept from run to run, checked against members."""

import uuid

import numpy as np
import pytest

from embedder.errors import CanaryDrift
from flows.clustering.members import Mark
from flows.clustering.method import Method
from flows.clustering.names import name_candidates, still_fits
from flows.clustering.naming import choose_names, earlier_names
from flows.clustering.run import Wanted, cluster_collection
from flows.clustering.sentences import sentence_candidates
from flows.clustering.state import Kept
from flows.clustering.verification import QueryCheck
from flows.clustering.words import written_forms

TOPICS = {"bread": [1.0, 0.0, 0.0], "orbit": [0.0, 1.0, 0.0], "river": [0.0, 0.0, 1.0]}


class TopicEncoder:
    """A text points where most of its topics' words do; elsewhere if it names none."""

    def __init__(self):
        self.queries = []

    def _encode(self, texts):
        vectors = np.full((len(texts), 3), 0.1, dtype=np.float32)
        for row, text in enumerate(texts):
            for topic, axis in TOPICS.items():
                vectors[row] += text.lower().count(topic) * np.array(axis, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_query(self, sentences):
        """Topics of each text."""
        self.queries += list(sentences)
        return self._encode(sentences)

    def encode_document(self, sentences):
        """Topics of each text."""
        return self._encode(sentences)


def _rows():
    rows = []
    for topic, axis in TOPICS.items():
        for n in range(8):
            vector = [value + 0.02 * ((n * 7) % 5) for value in axis]
            text = f"All about the {topic} and its {topic} things. Number {n} is a long story."
            rows.append((f"{topic}{n}", text, vector))
    return rows


def _cluster(collection, folder, *, encoder=None, run_id="run-1", **method):
    wanted = Wanted(
        method=Method(**method),
        report_folder=folder,
        run_id=run_id,
        created_at="2025-01-02T03:04:05Z",
    )
    return cluster_collection(collection, wanted, encoder=encoder)


def test_names_are_searched_for_and_found(collection_of, tmp_path):
    """Each name finds its cluster whole; sentences and queries are of the topic."""
    encoder = TopicEncoder()
    report = _cluster(collection_of(_rows()), tmp_path, encoder=encoder, k=3)
    assert len(report.clusters) == 3
    for cluster in report.clusters:
        assert cluster.name_check is not None
        assert cluster.name in encoder.queries
        assert (cluster.name_check.precision, cluster.name_check.recall) == (1.0, 1.0)
        assert not cluster.weak_name
        topic = cluster.exemplars[0].doc_id.rstrip("0123456789")
        assert topic in cluster.sentences[0].text
        assert cluster.sentences[0].doc_id.startswith(topic)


def test_a_name_that_finds_others_is_marked(collection_of, tmp_path):
    """An encoder that reads nothing of the words: names are weak, in every form of the report."""

    class Blind(TopicEncoder):
        def _encode(self, texts):
            return np.tile(np.array([[1, 0, 0]], np.float32), (len(texts), 1))

    report = _cluster(collection_of(_rows()), tmp_path, encoder=Blind(), k=3)
    assert sorted(cluster.weak_name for cluster in report.clusters) == [False, True, True]
    for name in ("clusters.md", "clusters.html"):
        assert "weak name" in (tmp_path / name).read_text()


def test_an_encoder_that_has_drifted_names_nothing_and_spoils_nothing(collection_of, tmp_path):
    """Clusters are found and named; a warning says why names were not searched for."""

    class Drifted(TopicEncoder):
        def _encode(self, texts):
            raise CanaryDrift("the encoder has drifted; use another\nmore")

    report = _cluster(collection_of(_rows()), tmp_path, encoder=Drifted(), k=3)
    assert [cluster.name_check for cluster in report.clusters] == [None] * 3
    assert report.warnings == ("names were not searched for: the encoder has drifted; use another",)


def _check(query, precision):
    return QueryCheck(query=query, precision=precision, hits=10, recall=precision)


def test_the_title_that_finds_most_is_taken():
    """Three keywords find a tenth, two find all: two it is."""

    def search(asked):
        return [_check(one.query, 1.0 if one.query.count(",") == 1 else 0.1) for one in asked]

    (name,) = choose_names(
        [["alpha", "beta", "gamma"]],
        [["alpha beta gamma"]],
        [[]],
        ids=[0],
        earlier={},
        search=search,
    )
    assert name.text == "Alpha, beta"
    assert name.check == _check("Alpha, beta", 1.0)
    assert name.queries == ()


def test_a_persons_name_stays_and_an_old_one_stays_while_it_fits():
    """By id: hand-given whatever the words, the last run's while half of its words are keywords."""
    marks = [Mark(3, "My topic", True), Mark(4, "Orbit, planet"), Mark(5, "Bread, yeast")]
    names = choose_names(
        [["river"], ["planet", "moon"], ["tax", "law"]],
        [["river"], ["planet moon"], ["tax law"]],
        [[], [], []],
        ids=[3, 4, 5],
        earlier=earlier_names(marks, [Kept(id=3, name="old", size=1)]),
        search=None,
    )
    assert [name.text for name in names] == ["My topic", "Orbit, planet", "Tax, law"]
    assert [name.by_person for name in names] == [True, False, False]


def test_no_two_names_are_alike():
    """The same keywords twice, and a hand-given name that another would get."""
    names = choose_names(
        [["river"], ["river"], []],
        [["river"], ["river"], []],
        [[], [], []],
        ids=[0, 1, 2],
        earlier=earlier_names([Mark(1, "River", True)], []),
        search=None,
    )
    assert [name.text for name in names] == ["River (2)", "River", "Cluster 2"]


def test_words_stand_as_they_are_mostly_written():
    """Abbreviations and names keep their capitals; beginnings of sentences lend none."""
    texts = ["HTTP and NumPy. Bread.", "HTTP numpy NumPy bread", "Bread or bread"]
    assert written_forms(texts)["http"] == "HTTP"
    assert name_candidates(["http", "numpy", "bread"], texts)[0] == "HTTP, NumPy, bread"
    assert name_candidates([], texts) == []
    assert still_fits("HTTP, bread", ["https", "breads"])
    assert not still_fits("HTTP, bread, yeast", ["breads"])


def test_sentences_are_prose_with_keywords():
    """Code, tables, fragments and repetitions are left out; markup at the beginning goes."""
    texts = [
        (4, "# The orbit of a planet around its star\n\n```x = orbit(planet)``` {{orbit}} = 12"),
        (5, "Short orbit. The orbit of a planet around its star\n\nThere is nothing here to see."),
    ]
    found = sentence_candidates(texts, ["orbit", "planet"])
    assert [(one.text, one.row) for one in found] == [("The orbit of a planet around its star", 4)]


def test_ids_and_names_live_through_growth_and_renaming(collection_of, tmp_path):
    """A second run with more chunks: ids and names stay, a new topic is born, changes are told."""
    collection = collection_of(_rows()[:16])
    first = _cluster(collection, tmp_path, k=2)
    names = {cluster.id: cluster.name for cluster in first.clusters}
    grown = collection_of(_rows())
    for point in collection.points.values():
        grown.points[point.id] = point
    second = _cluster(grown, tmp_path, k=3, run_id="run-2")
    assert {c.id: c.name for c in second.clusters if c.id in names} == names
    (born,) = [c for c in second.clusters if c.id not in names]
    assert (born.id, born.fate, born.size_before) == (2, "born", None)
    assert [change.kind for change in second.changes] == ["born"]
    assert second.previous_run == "run-1"
    assert f"born: 2 '{born.name}', 8 chunks" in (tmp_path / "clusters.md").read_text()


def test_the_store_alone_is_enough_to_go_on_from(collection_of, tmp_path):
    """Every file of the last run is gone: ids and a person's name are still the same."""
    collection = collection_of(_rows())
    first = _cluster(collection, tmp_path / "one", k=3)
    mine = first.clusters[1].id
    for point in collection.points.values():
        if point.payload["metadata"].get("cluster") == mine:
            point.payload["metadata"] |= {"cluster_name": "Mine", "cluster_named_by": "person"}
    second = _cluster(collection, tmp_path / "two", k=3)
    assert {c.id: c.size for c in second.clusters} == {c.id: c.size for c in first.clusters}
    (named,) = [c for c in second.clusters if c.id == mine]
    assert (named.name, named.name_by_person, second.previous_run) == ("Mine", True, "unknown")


def test_documents_tell_where_chunks_were_stored_anew(collection_of, tmp_path):
    """Another encoder made all chunks again, without marks: their documents' clusters stay."""
    first = _cluster(collection_of(_rows()), tmp_path, k=3)
    again = collection_of(_rows())
    for old in list(again.points):  # chunks under other ids, as of changed documents
        point = again.points.pop(old)
        new = str(uuid.uuid5(uuid.NAMESPACE_URL, old))
        again.points[new] = type(point)(id=new, vector=point.vector, payload=point.payload)
    again.manifest = again.manifest.model_copy(update={"fingerprint": "another"})
    second = _cluster(again, tmp_path, k=3)
    topics = [
        {c.id: c.exemplars[0].doc_id.rstrip("0123456789") for c in report.clusters}
        for report in (first, second)
    ]
    assert topics[0] == topics[1]
    assert [c.fate for c in second.clusters] == ["steady"] * 3


@pytest.mark.parametrize("algorithm", ["kmeans", "hdbscan"])
def test_marks_of_the_store_are_the_reports(collection_of, tmp_path, algorithm):
    """Every chunk says its cluster and that cluster's name; one of no cluster says -1."""
    collection = collection_of([*_rows(), ("stray", "alone", [-1.0, -1.0, -1.0])])
    report = _cluster(
        collection,
        tmp_path,
        algorithm=algorithm,
        **({"min_cluster_size": 5} if algorithm == "hdbscan" else {"k": 3}),
    )
    names = {c.id: c.name for c in report.clusters} | {-1: None}
    chunks = [p for p in collection.points.values() if p.vector is not None]
    assert all(
        p.payload["metadata"].get("cluster_name") == names[p.payload["metadata"]["cluster"]]
        for p in chunks
    )
    if algorithm == "hdbscan":
        assert -1 in collection.clusters().values()
        assert report.outlier_examples[0].cluster == -1
