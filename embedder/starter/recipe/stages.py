"""The stages before training, each kept on disk and not repeated: tokenizer, corpus, table."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from embedder.prompts import find_template
from embedder.starter.recipe.corpus import Corpus, Rows, neighbourhoods
from embedder.starter.recipe.measures import Means
from embedder.starter.recipe.objective import Objective
from embedder.starter.recipe.student import SETTINGS
from embedder.starter.recipe.table import first_table, text_means, token_surfaces, train_table
from embedder.starter.recipe.teacher import teacher_vectors
from embedder.starter.recipe.texts import Mixture, pair_texts, single_texts, windows
from embedder.starter.recipe.tokenizer import VOCABULARY, train_tokenizer
from embedder.tokens import PromptTokenizer


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the data lie, where results are kept, and how much of the data is used."""

    data: Path
    work: Path
    mixture: Mixture
    vocabulary: int = VOCABULARY

    def tokenizer(self) -> Tokenizer:
        """The trained tokenizer."""
        path = self.work / "tokenizer.json"
        if not path.exists():
            pairs = pair_texts(self.data, self.mixture)
            texts = [*single_texts(self.data, self.mixture), *(t for pair in pairs for t in pair)]
            train_tokenizer(texts, vocabulary=self.vocabulary).save(str(path))
        return Tokenizer.from_file(str(path))

    def prompt(self, tokenizer: Tokenizer) -> PromptTokenizer:
        """The prompt that the student is read with."""
        tp = SETTINGS.token_prepending
        return PromptTokenizer(
            tokenizer,
            bos=tokenizer.encode("", add_special_tokens=True).ids,
            template=find_template(SETTINGS.templates("document")[0]),
            placeholders=tp.placeholders if tp else 0,
            max_tokens=SETTINGS.max_tokens,
        )

    def corpus(self, tokenizer: Tokenizer) -> Corpus:
        """Pairs, then single texts and windows, with the teacher's vectors."""
        path = self.work / "corpus.npz"
        if not path.exists():
            texts, teacher, count = self._texts()
            rows = Rows.of(texts, self.prompt(tokenizer))
            temporary = path.with_suffix(".tmp.npz")
            np.savez(
                temporary,
                ids=rows.ids,
                start=rows.start,
                text_start=rows.text_start,
                text_end=rows.text_end,
                teacher=teacher,
                cluster=neighbourhoods(teacher),
                paired=np.arange(count),
            )
            temporary.rename(path)
        with np.load(path) as kept:
            rows = Rows(kept["ids"], kept["start"], kept["text_start"], kept["text_end"])
            pairs = kept["paired"].reshape(-1, 2)
            singles = np.arange(pairs.size, len(rows.text_start))
            return Corpus(rows, kept["teacher"], kept["cluster"], pairs, singles)

    def _texts(self) -> tuple[list[str], npt.NDArray[np.float16], int]:
        """All texts, their teacher vectors, and how many of the first ones are sides of pairs."""
        folder = self.work / "teacher"
        pairs = [t for pair in pair_texts(self.data, self.mixture) for t in pair]
        singles = single_texts(self.data, self.mixture)
        long = windows(self.data, self.mixture)
        known = set(pairs)
        wanted = np.array([t not in known for t in singles])
        vectors = [teacher_vectors(texts, folder) for texts in (pairs, singles, long)]
        teacher = np.concatenate([vectors[0], vectors[1][wanted], vectors[2]])
        kept = [t for t, keep in zip(singles, wanted, strict=True) if keep]
        return [*pairs, *kept, *long], teacher, len(pairs)

    def table(
        self,
        tokenizer: Tokenizer,
        corpus: Corpus,
        *,
        epochs: int,
        report: Callable[[int, float], None],
    ) -> npt.NDArray[np.float32]:
        """The trained table of token vectors, (V, D)."""
        path = self.work / "table.npy"
        if not path.exists():
            tokens = teacher_vectors(token_surfaces(tokenizer), self.work / "teacher")
            table_VD = train_table(
                first_table(tokens, corpus.rows),
                corpus,
                epochs=epochs,
                objective=Objective(),
                report=report,
            )
            temporary = path.with_suffix(".tmp.npy")
            np.save(temporary, table_VD)
            temporary.rename(path)
        found: npt.NDArray[np.float32] = np.load(path)
        return found


def table_means(table_VD: npt.NDArray[np.float32], rows: Rows) -> Means:
    """The table as an encoder."""
    import torch

    table: Any = torch.from_numpy(table_VD)
    return lambda chosen: text_means(table, rows, chosen).numpy()
