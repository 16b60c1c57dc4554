"""How long a piece of a document should be, and how it is read: `python -m benchmarks.long_text`.

Documents of labelled retrieval sets are cut into pieces of at most so many tokens by the pipeline's
own chunker. A document scores as its best piece does; nDCG@10 over the queries. Settings differ
from each other in one thing: Token Prepending, Contrastive Prompting, template, pooling. Beside
them stands BM25 over the same pieces.

What does best on the sets is then held against the defaults on other sets (`--held-out`), which
had no part in the choice.

Legend: `Q` queries, `D` documents, `P` pieces, `N` texts, `E` components of a vector.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from tokenizers import Tokenizer

from benchmarks.ranking import (
    RetrievalSet,
    best_piece,
    bm25,
    load_set,
    ndcg,
    paired_bootstrap,
    read_jsonl,
)
from benchmarks.read_outs import Pass, passes_of, read_out
from benchmarks.results_file import finish
from embedder.encoder import Encoder
from embedder.specification import specify
from flows.documents.chunking import Chunker
from flows.documents.parsed_document import ParsedDocument
from flows.settings import Settings

DEFAULT_TOKENS: Final[int] = Settings.model_fields["chunk_tokens"].default
LEXICAL: Final = "BM25"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """Documents in pieces."""

    texts: tuple[str, ...]
    document_P: npt.NDArray[np.int64]
    """Which document each piece is of."""
    tokens: int
    """Of all pieces together, without template."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in the table."""

    settings: str
    length: int
    """Most tokens of a piece."""


Scores = dict[tuple[str, Cell], npt.NDArray[np.float64]]
"""By set and cell: nDCG@10 of each query, (Q,)."""


def cut(documents: Iterable[str], tokenizer_json: str, most: int) -> Pieces:
    """Pieces of at most `most` tokens, without overlap, as an ingest makes them of plain text."""
    chunker = Chunker(tokenizer_json, max_tokens=most)
    found = [
        (index, chunk)
        for index, text in enumerate(documents)
        for chunk in chunker.chunk(ParsedDocument(text=text, title="", encoding="utf-8")).chunks
    ]
    return Pieces(
        texts=tuple(chunk.text for _, chunk in found),
        document_P=np.array([index for index, _ in found], dtype=np.int64),
        tokens=sum(chunk.tokens for _, chunk in found),
    )


def measure(
    name: str,
    passes: Sequence[Pass],
    sets: Sequence[RetrievalSet],
    cuts: Mapping[str, Mapping[int, Pieces]],
) -> tuple[Scores, list[dict[str, Any]]]:
    """Scores of every pass, pooling and length, and how many tokens were computed for them.

    A piece that several lengths have is read once; no vector depends on its batch.
    """
    scores: Scores = {}
    costs: list[dict[str, Any]] = []
    began = time.perf_counter()
    for one in passes:
        encoder = Encoder.load(name, one.config, device="cpu")
        for labelled in sets:
            by_length = cuts[labelled.name]
            texts = list(dict.fromkeys(t for pieces in by_length.values() for t in pieces.texts))
            place = {text: index for index, text in enumerate(texts)}
            asked = read_out(encoder, labelled.queries, one.poolings, kind="query")
            stored = read_out(encoder, texts, one.poolings)
            for length, pieces in by_length.items():
                at_P = [place[text] for text in pieces.texts]
                computed = int(stored.computed_N[at_P].sum())
                where = {"set": labelled.name, "pass": one.label, "length": length}
                costs.append(where | {"computed_tokens": computed})
                for pooling in one.poolings:
                    similarity_QP = asked.vectors[pooling] @ stored.vectors[pooling][at_P].T
                    cell = Cell(one.settings(pooling), length)
                    scores[labelled.name, cell] = _score(labelled, pieces, similarity_QP)
            seconds = time.perf_counter() - began
            print(f"{seconds:6.0f} s: {one.label} on {labelled.name}", file=sys.stderr, flush=True)
    return scores, costs


def correlate(name: str, passes: Sequence[Pass], path: Path) -> dict[str, float]:
    """Spearman x 100 of cosine and human score, by settings: what short texts make of them."""
    pairs = read_jsonl(path)
    found = {}
    for one in passes:
        encoder = Encoder.load(name, one.config, device="cpu")
        first, second = (
            read_out(encoder, [pair[side] for pair in pairs], one.poolings).vectors
            for side in ("sentence1", "sentence2")
        )
        for pooling in one.poolings:
            cosine = (first[pooling] * second[pooling]).sum(axis=1)
            correlation = spearmanr(cosine, [pair["score"] for pair in pairs])[0]
            found[one.settings(pooling)] = round(100 * float(correlation), 1)
    return found


def lexical(sets: Sequence[RetrievalSet], cuts: Mapping[str, Mapping[int, Pieces]]) -> Scores:
    """BM25 over the same pieces."""
    return {
        (s.name, Cell(LEXICAL, length)): _score(s, pieces, bm25(s.queries, pieces.texts))
        for s in sets
        for length, pieces in cuts[s.name].items()
    }


def compare(scores: Scores, default: Cell) -> list[dict[str, Any]]:
    """Every cell: nDCG x 100 by set and their mean; each less the default's, with its interval."""
    sets = list(dict.fromkeys(name for name, _ in scores))
    rows = []
    for cell in dict.fromkeys(cell for _, cell in scores):
        gaps = {s: scores[s, cell] - scores[s, default] for s in sets}
        by_set = {s: 100 * float(scores[s, cell].mean()) for s in sets}
        rows.append(
            {
                "settings": cell.settings,
                "length": cell.length,
                "ndcg": {s: round(value, 2) for s, value in by_set.items()},
                "mean": round(sum(by_set.values()) / len(by_set), 2),
                "difference": _interval(list(gaps.values())),
                "difference_by_set": {s: _interval([gap]) for s, gap in gaps.items()},
            }
        )
    return rows


def main() -> None:
    """Measure every setting and length; hold the best against the default on other sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="starter")
    parser.add_argument("--sets", default="cranfield,time")
    parser.add_argument("--held-out", default="cacm,cisi")
    parser.add_argument("--lengths", default="32,64,160,320,512")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    specification = specify(options.encoder)
    config = specification.config
    passes = passes_of(config)
    # The settings as they are have the longest template: what fits there fits everywhere.
    encoder = Encoder.load(options.encoder, passes[0].config, device="cpu")
    tokenizer_json, room = encoder.tokenizer_json, encoder.max_text_tokens
    default = Cell(passes[0].settings(config.pooling), min(DEFAULT_TOKENS, room))
    asked = [int(length) for length in options.lengths.split(",")]
    lengths = sorted({min(length, room) for length in [*asked, default.length]})

    def prepared(names: str, lengths: Sequence[int]) -> tuple[list[RetrievalSet], dict[str, Any]]:
        sets = [load_set(options.data / "retrieval" / name) for name in names.split(",") if name]
        cuts = {
            s.name: {length: cut(s.documents, tokenizer_json, length) for length in lengths}
            for s in sets
        }
        return sets, cuts

    sets, cuts = prepared(options.sets, lengths)
    scores, costs = measure(options.encoder, passes, sets, cuts)
    rows = compare(scores | lexical(sets, cuts), default)

    ours = [row for row in rows if row["settings"] != LEXICAL]
    top = max(ours, key=lambda row: row["mean"])
    chosen = Cell(top["settings"], top["length"])
    wanted = {default.settings, chosen.settings}
    others, other_cuts = prepared(options.held_out, sorted({default.length, chosen.length}))
    needed = [
        Pass(label=one.label, config=one.config, poolings=one.poolings)
        for one in passes
        if wanted & {one.settings(pooling) for pooling in one.poolings}
    ]
    other_scores, _ = measure(options.encoder, needed, others, other_cuts)
    other_scores |= lexical(others, other_cuts)
    kept = {key: s for key, s in other_scores.items() if key[1].settings in {*wanted, LEXICAL}}

    count = _counter(tokenizer_json)
    result = {
        "encoder": options.encoder,
        "fingerprint": specification.fingerprint,
        "threads": options.threads,
        "default": {"settings": default.settings, "length": default.length},
        "chosen": {"settings": chosen.settings, "length": chosen.length},
        "longest_asked": max(asked),
        "longest": max(lengths),
        "sets": [
            _described(s, count, held_out=s in others) | {"whole_documents_bm25": _whole(s)}
            for s in [*sets, *others]
        ],
        "pieces": [
            {"set": name, "length": length, "pieces": len(p.texts), "text_tokens": p.tokens}
            for name, by_length in (cuts | other_cuts).items()
            for length, p in by_length.items()
        ],
        "computed_tokens": costs,
        "stsb_dev_spearman": correlate(
            options.encoder, passes, options.data / "sts" / "stsb_dev.jsonl"
        ),
        "rows": rows,
        "held_out": compare(kept, default),
    }
    finish("long_text", result, file=options.file)


def _score(
    labelled: RetrievalSet, pieces: Pieces, similarity_QP: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    score_QD = best_piece(similarity_QP, pieces.document_P, len(labelled.documents))
    return ndcg(score_QD, labelled.relevant_QD)


def _interval(differences: Sequence[npt.NDArray[np.float64]]) -> list[float]:
    found = paired_bootstrap(differences)
    return [round(100 * x, 2) for x in (found.mean, found.low, found.high)]


def _whole(labelled: RetrievalSet) -> float:
    """BM25 of documents in one piece, nDCG x 100."""
    score_QD = bm25(labelled.queries, labelled.documents)
    return round(100 * float(ndcg(score_QD, labelled.relevant_QD).mean()), 2)


def _described(
    labelled: RetrievalSet, count: Callable[[Sequence[str]], list[int]], *, held_out: bool
) -> dict[str, Any]:
    tokens_D = np.array(count(labelled.documents))
    median, high = np.percentile(tokens_D, [50, 90])
    return {
        "set": labelled.name,
        "held_out": held_out,
        "documents": len(labelled.documents),
        "tokens": int(tokens_D.sum()),
        "median_tokens": int(median),
        "tokens_of_the_90th_percentile": int(high),
        "queries": len(labelled.queries),
        "queries_left_out": labelled.left_out,
    }


def _counter(tokenizer_json: str) -> Callable[[Sequence[str]], list[int]]:
    tokenizer = Tokenizer.from_str(tokenizer_json)
    return lambda texts: [len(e) for e in tokenizer.encode_batch(texts, add_special_tokens=False)]


if __name__ == "__main__":
    main()
