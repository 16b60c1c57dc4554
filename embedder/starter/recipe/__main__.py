"""Train the starter model: `python -m embedder.starter.recipe --data DIR --out DIR`.

Needs the `recipe` extra (the teacher is a training-time dependency only). Every stage is kept under
`--work` and is not repeated: an interrupted run goes on where it stopped.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer

from embedder.backbone import Backbone
from embedder.presets import PRESETS, STARTER
from embedder.prompts import find_auxiliary, find_template
from embedder.starter.recipe.batches import neighbourhoods
from embedder.starter.recipe.distil import Schedule, distil
from embedder.starter.recipe.export import export_model
from embedder.starter.recipe.student import build_student, sif_weights, token_surfaces
from embedder.starter.recipe.teacher import teacher_vectors
from embedder.starter.recipe.texts import Mixture, build_texts
from embedder.starter.recipe.tokenizer import train_tokenizer
from embedder.tokens import PromptTokenizer


def main() -> None:
    """Run the stages: texts, tokenizer, teacher, student, training, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="passages.jsonl.gz, pairs.jsonl.gz"
    )
    parser.add_argument("--work", type=Path, default=Path(".work/starter"), help="kept stages")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--stop-after", type=int, help="end at this step of the schedule")
    parser.add_argument("--texts", type=int, help="use only the first N texts (for a trial)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()

    texts = build_texts(options.data, Mixture())[: options.texts]
    tokenizer_file = work / "tokenizer.json"
    if not tokenizer_file.exists():
        train_tokenizer(texts).save(str(tokenizer_file))
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    teacher = teacher_vectors(texts, work / "teacher")
    token_vectors = teacher_vectors(token_surfaces(tokenizer), work / "teacher")
    backbone = Backbone(
        build_student(tokenizer, token_vectors=token_vectors, weights=sif_weights(tokenizer, texts))
    )

    config = PRESETS[STARTER].config
    tp, cp = config.token_prepending, config.contrastive_prompting
    if tp is None or cp is None:
        parser.error("the starter's preset has lost TP or CP; the recipe trains through both")
    bos = tokenizer.encode("", add_special_tokens=True).ids
    normal = PromptTokenizer(
        tokenizer,
        bos=bos,
        template=find_template(config.templates("document")[0]),
        placeholders=tp.placeholders,
        max_tokens=config.max_tokens,
    )
    auxiliary = PromptTokenizer(
        tokenizer,
        bos=bos,
        template=find_auxiliary(cp.auxiliary),
        placeholders=tp.placeholders if tp.on_auxiliary else 0,
        max_tokens=config.max_tokens + 16,
    )
    distil(
        backbone,
        rows=[t.row for t in normal.tokenize(texts)],
        auxiliary=[t.row for t in auxiliary.tokenize(texts)],
        teacher=teacher,
        cluster=neighbourhoods(teacher),
        config=config,
        schedule=Schedule(epochs=options.epochs),
        folder=work,
        stop_after=options.stop_after,
    )
    size = export_model(backbone.model, tokenizer, options.out, max_tokens=config.max_tokens)
    report = {
        "texts": len(texts),
        "bytes": size,
        "seconds": round(time.perf_counter() - began),
        "threads": options.threads,
        "torch": torch.__version__,
    }
    (work / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
