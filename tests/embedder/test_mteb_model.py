"""mteb's own code runs over the bundled encoder, offline, on tasks made up here.

All but the first two tests need the extra `mteb`.
"""

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import spearmanr

import embedder
from embedder.config import EncoderConfig
from embedder.encoder import Encoder
from embedder.errors import InvalidConfig
from embedder.precision import quantise
from embedder.presets import PRESETS

MODULE = "embedder.mteb_model"
PAIRS = [
    ("A man plays the guitar.", "Someone is playing a guitar.", 5.0),
    ("A cat sleeps on the sofa.", "A kitten naps on the couch.", 4.5),
    ("Children play in the park.", "Some kids are in a garden.", 3.0),
    ("The bank raised its rate.", "A woman is riding a horse.", 0.0),
    ("He bakes bread at home.", "The satellite reached its orbit.", 0.5),
]
TOPICS = {
    "cooking": [
        "Boil the pasta in salted water, then add the sauce.",
        "Add salt to the boiling water and cook the pasta.",
        "The pasta sauce is cooked with onions and oil.",
        "Cook the onions in oil, then add salt and pasta.",
    ],
    "space": [
        "The rocket left the orbit of the Earth.",
        "A satellite in orbit around the Earth.",
        "The orbit of the moon around the Earth.",
        "A rocket brought the satellite to its orbit.",
    ],
}


class WordLengths:
    """A vector is how many words of 1 to 8 letters a text has; queries have their sign turned."""

    dimension = 8
    fingerprint = "f" * 64
    specification = SimpleNamespace(name="/models/word-lengths")

    def __init__(self, **settings: Any) -> None:
        self.config = EncoderConfig(**settings)

    def encode_document(self, texts: list[str], *, precision: Any, **_: Any) -> npt.NDArray[Any]:
        """As the encoder's, (N, 8)."""
        lengths = [[len(word) for word in text.split()] for text in texts]
        counts = np.array([[row.count(n) for n in range(1, 9)] for row in lengths], np.float32)
        return quantise(counts / np.linalg.norm(counts, axis=1, keepdims=True), precision)

    def encode_query(self, texts: list[str], **options: Any) -> npt.NDArray[Any]:
        """As documents in float32, but with the sign turned."""
        return -self.encode_document(texts, **options)


# -- without mteb -------------------------------------------------------------------------------


def test_without_mteb_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module itself asks for the extra; nothing before it does."""
    monkeypatch.setitem(sys.modules, "mteb", None)
    monkeypatch.setitem(sys.modules, "mteb.models", None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sextant-pipeline\[mteb\]'") as got:
        importlib.import_module(MODULE)
    assert "\n" not in str(got.value)


def test_nothing_else_imports_mteb_or_the_adapter() -> None:
    """An optional extra stays optional."""
    sources = (path for path in Path(embedder.__file__).parent.rglob("*.py"))
    pattern = re.compile(r"^\s*(from|import) (mteb|embedder\.mteb_model)\b", re.M)
    importing = [path.name for path in sources if pattern.search(path.read_text("utf-8"))]
    assert importing == ["mteb_model.py"]


# -- with mteb ----------------------------------------------------------------------------------


@pytest.fixture
def adapt() -> Any:
    """The adapter class, where mteb is there."""
    pytest.importorskip("mteb")
    return importlib.import_module(MODULE).SextantMteb


@pytest.fixture(scope="module")
def starter() -> Encoder:
    return Encoder.load("starter", device="cpu")


def metadata(kind: str, main_score: str) -> Any:
    """What mteb wants to know of a task; `Tiny` in front of its type is the name."""
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name=f"Tiny{kind}",
        description="Made up for a test.",
        type=kind,
        category="t2t",
        dataset={"path": "made/up", "revision": "0"},
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=main_score,
        reference=None,
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )


def run(model: Any, task: Any) -> dict[str, Any]:
    """The scores that `mteb.evaluate` gives; nothing is read from its cache or written to it."""
    import mteb

    result = mteb.evaluate(
        model, task, cache=None, co2_tracker=False, encode_kwargs={"show_progress_bar": False}
    )
    scores: dict[str, Any] = result.task_results[0].scores["test"][0]
    return scores


def test_sts_gives_the_correlation_of_our_own_cosines(adapt: Any, starter: Encoder) -> None:
    """Parity: mteb's Spearman is the one worked out from `Encoder.similarity`."""
    from datasets import Dataset
    from mteb.abstasks.sts import AbsTaskSTS

    class Tiny(AbsTaskSTS):
        metadata = metadata("STS", "cosine_spearman")

        def load_data(self, **_: Any) -> None:
            columns = ("sentence1", "sentence2", "score")
            rows = dict(zip(columns, map(list, zip(*PAIRS, strict=True)), strict=True))
            self.dataset = {"test": Dataset.from_dict(rows)}
            self.data_loaded = True

    scores = run(adapt(starter), Tiny())
    first, second, human = zip(*PAIRS, strict=True)
    vectors = starter.encode_document(first), starter.encode_document(second)
    ours = spearmanr(np.diag(starter.similarity(*vectors)), human)[0]
    assert scores["main_score"] == pytest.approx(ours)
    assert scores["spearman"] == pytest.approx(ours), "similarity_pairwise"
    assert ours > 0.5


@pytest.mark.parametrize("precision", ["float32", "int8", "binary"])
def test_clustering_tells_two_topics_apart(adapt: Any, precision: str) -> None:
    """k-means reads the vectors themselves: stored in fewer bits, they still reach it as floats."""
    from datasets import Dataset
    from mteb.abstasks.clustering import AbsTaskClustering

    class Tiny(AbsTaskClustering):
        metadata = metadata("Clustering", "v_measure")
        max_fraction_of_documents_to_embed = None
        max_documents_per_cluster = 64

        def load_data(self, **_: Any) -> None:
            rows = [(text, topic) for topic, texts in TOPICS.items() for text in texts]
            columns = {"sentences": [r[0] for r in rows], "labels": [r[1] for r in rows]}
            self.dataset = {"test": Dataset.from_dict(columns)}
            self.data_loaded = True

    config = PRESETS["starter"].config.model_copy(update={"precision": precision})
    encoder = Encoder.load("starter", config, device="cpu")
    assert run(adapt(encoder), Tiny())["main_score"] > 0.7


def test_retrieval_finds_the_answer(adapt: Any, starter: Encoder) -> None:
    """Queries and corpus come through different roles, and `similarity` ranks them."""
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

    class Tiny(AbsTaskRetrieval):
        metadata = metadata("Retrieval", "ndcg_at_10")

        def load_data(self, **_: Any) -> None:
            documents = [f"{first} It was seen today." for first, _, _ in PAIRS]
            corpus = [{"id": f"d{i}", "text": d, "title": ""} for i, d in enumerate(documents)]
            queries = [{"id": f"q{i}", "text": p[0].lower()} for i, p in enumerate(PAIRS)]
            data = RetrievalSplitData(
                corpus=Dataset.from_list(corpus),
                queries=Dataset.from_list(queries),
                relevant_docs={f"q{i}": {f"d{i}": 1} for i in range(len(PAIRS))},
                top_ranked=None,
            )
            self.dataset = {"default": {"test": data}}
            self.data_loaded = True

    assert run(adapt(starter), Tiny())["main_score"] == 1


def encode(model: Any, texts: list[str], prompt_type: str | None, **kwargs: Any) -> Any:
    """As mteb calls it, with two texts a batch."""
    from mteb.types import PromptType

    batches = [{"text": texts[i : i + 2]} for i in range(0, len(texts), 2)]
    kind = None if prompt_type is None else PromptType(prompt_type)
    where = {"task_metadata": None, "hf_split": "test", "hf_subset": "default"}
    return model.encode(batches, prompt_type=kind, **where, **kwargs)


@pytest.mark.parametrize(("prompt_type", "sign"), [("query", -1), ("document", 1), (None, 1)])
def test_queries_are_encoded_as_queries(adapt: Any, prompt_type: str | None, sign: int) -> None:
    """And all else as documents, in the order of the batches."""
    vectors = encode(adapt(WordLengths()), ["a", "bb bb", "a ccc"], prompt_type)
    half = np.sqrt(0.5)
    expected = np.zeros((3, 8))
    expected[0, 0], expected[1, 1], expected[2, [0, 2]] = 1, 1, half
    assert vectors == pytest.approx(sign * expected)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "binary"])
def test_mteb_gets_the_unit_vectors_that_are_stored(adapt: Any, precision: str) -> None:
    """Float32 and of unit length, be the precision the encoder's own or asked for in mteb's way."""
    texts = ["a bb ccc", "dddd a"]
    own = encode(adapt(WordLengths(precision=precision)), texts, None, batch_size=1)
    asked = encode(adapt(WordLengths()), texts, None, precision=precision)
    assert np.array_equal(own, asked)
    assert own.dtype == np.float32
    assert np.linalg.norm(own, axis=1) == pytest.approx(1)
    assert (own[0, 0] == -own[0, 7]) == (precision == "binary"), "only bits have no zero"


def test_a_precision_of_mtebs_that_is_not_ours(adapt: Any, starter: Encoder) -> None:
    """Refused by the encoder itself."""
    with pytest.raises(InvalidConfig, match="precision 'uint8' is unknown; use one of float32"):
        encode(adapt(starter), ["a"], None, precision="uint8", show_progress_bar=False)


def test_similarities(adapt: Any) -> None:
    """Tensors, as mteb's evaluators read them, of arrays and of tensors; (N, M), and (N,)."""
    model = adapt(WordLengths())
    vectors = encode(model, ["a", "bb", "a bb"], None)
    half = np.sqrt(0.5)
    expected = np.array([[1, 0, half], [0, 1, half], [half, half, 1]])
    for given in (vectors, torch.from_numpy(vectors)):
        assert torch.is_tensor(model.similarity(given, vectors))
        assert model.similarity(given, vectors).numpy() == pytest.approx(expected)
        paired = model.similarity_pairwise(given, vectors[[1, 1, 1]])
        assert paired.numpy() == pytest.approx(expected[1])
    assert float(model.similarity(vectors[0], vectors[2])) == pytest.approx(half)


def test_results_are_filed_by_fingerprint(adapt: Any) -> None:
    """Other settings are another revision; a folder's name stands without its path."""
    from mteb.models import EncoderProtocol

    model = adapt(WordLengths())
    assert isinstance(model, EncoderProtocol)
    meta = model.mteb_model_meta
    assert (meta.name, meta.revision) == ("sextant/word-lengths", "f" * 64)
    assert (meta.embed_dim, meta.max_tokens) == (8, 512)
