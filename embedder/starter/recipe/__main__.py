"""Train the starter model: `python -m embedder.starter.recipe --data DIR --out DIR`.

Needs the `recipe` extra (the teacher is a training-time dependency only). Every stage is kept under
`--work` and is not repeated: an interrupted run goes on where it stopped, training from its last
checkpoint. `--steps` may be changed between two calls as long as the rates have not begun to fall.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from embedder.starter.recipe.corpus import Rows
from embedder.starter.recipe.export import export_model
from embedder.starter.recipe.measures import (
    Means,
    Vectors,
    held_out_measures,
    spearman_of,
    teacher_ndcg,
)
from embedder.starter.recipe.stages import Stages, table_means
from embedder.starter.recipe.student import SETTINGS, Student, build_student
from embedder.starter.recipe.texts import Mixture
from embedder.starter.recipe.tokenizer import VOCABULARY
from embedder.starter.recipe.training import Schedule, train

TABLE_EPOCHS = 3


def main() -> None:
    """Run the stages: tokenizer, teacher, table, network, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="passages.jsonl.gz, pairs.jsonl.gz"
    )
    parser.add_argument("--work", type=Path, default=Path(".work/starter"), help="kept stages")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--dev", type=Path, help="scored sentence pairs, JSONL: only measured")
    parser.add_argument("--steps", type=int, default=Schedule().steps)
    parser.add_argument("--share", type=float, default=1.0, help="of the texts, for a trial")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()

    stages = Stages(options.data, options.work, Mixture().times(options.share), options.vocabulary)
    tokenizer = stages.tokenizer()
    corpus = stages.corpus(tokenizer)
    table_VD = stages.table(tokenizer, corpus, epochs=TABLE_EPOCHS, report=_say)
    dev = _Scored(options.dev, stages, tokenizer) if options.dev else None

    def measures(means: Means, dev_means: Means) -> dict[str, float]:
        found = held_out_measures(corpus, means)
        return found | ({"dev": dev.spearman(dev_means)} if dev else {})

    dev_rows = dev.rows if dev else corpus.rows
    print(
        json.dumps(
            {
                "texts": len(corpus.teacher),
                "tokens": int(corpus.rows.start[-1]),
                "teacher": {"pairs_ndcg": teacher_ndcg(corpus)},
                "table": measures(
                    table_means(table_VD, corpus.rows), table_means(table_VD, dev_rows)
                ),
            }
        ),
        flush=True,
    )
    student = Student(build_student(tokenizer, table_VD))
    train(
        student,
        corpus,
        schedule=replace(Schedule(), steps=options.steps),
        folder=options.work,
        measure=lambda: measures(_means(student, corpus.rows), _means(student, dev_rows)),
    )
    size = export_model(student.model, tokenizer, options.out, max_tokens=SETTINGS.max_tokens)
    preset = {
        "model": ".",
        "config": SETTINGS.model_dump(exclude_defaults=True),
        "source": "ours: trained through these settings (its MODEL_CARD.md)",
    }
    (options.out / "preset.json").write_text(json.dumps(preset, indent=2) + "\n")
    report = {
        "texts": len(corpus.teacher),
        "bytes": size,
        "seconds": round(time.perf_counter() - began),
        "threads": options.threads,
        "torch": torch.__version__,
    }
    (options.work / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


def _say(step: int, loss: float) -> None:
    """Now and then, how the table does."""
    if step % 50 == 0:
        print(f"table: step {step}, loss {loss:.4f}", flush=True)


class _Scored:
    """Sentence pairs with human scores."""

    def __init__(self, path: Path, stages: Stages, tokenizer: Tokenizer) -> None:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        sides = [line[side] for side in ("sentence1", "sentence2") for line in lines]
        self.rows = Rows.of(sides, stages.prompt(tokenizer))
        self.scores = [line["score"] for line in lines]

    def spearman(self, means: Means) -> float:
        """Rank correlation of cosines with the scores."""
        found_ND = means(np.arange(2 * len(self.scores)))
        half = len(self.scores)
        return spearman_of(found_ND[:half], found_ND[half:], self.scores)


def _means(student: Student, rows: Rows) -> Means:
    """The student as an encoder, in float32 of its bfloat16 pass."""

    def vectors(chosen: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Vectors:
        parts = [chosen[i : i + 500] for i in range(0, len(chosen), 500)]
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            done = [student.vectors(rows, part) for part in parts]
        found: Vectors = torch.cat(done).numpy()
        return found

    return vectors


if __name__ == "__main__":
    main()
