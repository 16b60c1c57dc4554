"""How well an encoder's clusters agree with people's labels: V-measure, per prompt and pooling.

V-measure (Rosenberg and Hirschberg 2007) is the harmonic mean of homogeneity (a cluster holds one
label) and completeness (a label lies in one cluster): 1 is agreement, 0 is chance or no structure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from embedder.config import EncoderConfig
from embedder.errors import InvalidConfig
from embedder.evaluation.clustering import mteb_v_measures
from embedder.prompts import expand, find_template
from embedder.specification import EncoderSpecification, specify
from flows.clustering.spherical import Floats, distinct_rows, partition, unit_rows
from flows.encoders import encode_chunks, load_encoder
from flows.evaluation.labelled_texts import LabelledTexts
from flows.progress import Progress

STARTS: Final = 4
"""k-means++ starts for each seed."""

Protocol = Literal["mteb", "kmeans"]
"""MTEB's mini-batch k-means on samples, or the k-means of `sextant cluster` on all texts."""
KMEANS: Final = "kmeans"

SLICE_TEXTS: Final = 512
"""Texts encoded between two signs of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One set of texts, clustered by one prompt and pooling."""

    name: str
    prompt: str
    pooling: str
    token_prepending: bool
    contrastive_prompting: bool
    texts: int
    clusters: int
    """As many as there are labels."""
    by_seed: tuple[float, ...]
    """V-measure of each seed's k-means, 0 to 1."""

    def fields(self) -> dict[str, Any]:
        """For programs; `v_measure` is the mean over the seeds, `std` their standard deviation."""
        return {
            "name": self.name,
            "v_measure": round(float(np.mean(self.by_seed)), 4),
            "std": round(float(np.std(self.by_seed)), 4),
            "prompt": self.prompt,
            "pooling": self.pooling,
            "token_prepending": self.token_prepending,
            "contrastive_prompting": self.contrastive_prompting,
            "texts": self.texts,
            "n": self.texts,
            "clusters": self.clusters,
            "seeds": len(self.by_seed),
        }


def evaluate_clustering(
    sets: Sequence[LabelledTexts],
    encoder: str | EncoderSpecification,
    *,
    seeds: int,
    prompts: Sequence[str] = (),
    poolings: Sequence[str] = (),
    protocol: Protocol = KMEANS,
    progress: Progress,
) -> list[Score]:
    """V-measure of every set under every prompt and pooling; by set, in the order asked for.

    Texts are encoded as documents. As many clusters are looked for as there are labels: by the
    k-means that `sextant cluster` uses, once for each seed from 0, or by MTEB's protocol, in as
    many experiments.

    Args:
        sets: what to cluster.
        encoder: what `specify` takes, or what it gave.
        seeds: how many, 1 or more.
        prompts: template keys or templates; empty: the encoder's own.
        poolings: names of poolings; empty: the encoder's own.
        protocol: how vectors are clustered.
        progress: is told of every slice of texts.

    Raises:
        InvalidConfig: a prompt or pooling that is not one.
        EmbedderError: the encoder cannot be used.
    """
    specification = specify(encoder) if isinstance(encoder, str) else encoder
    variants = [
        variant(specification, prompt=prompt, pooling=pooling)
        for prompt in prompts or (None,)
        for pooling in poolings or (None,)
    ]
    scores: dict[int, list[Score]] = {place: [] for place in range(len(sets))}
    for one in variants:
        model = load_encoder(one)
        for place, texts in enumerate(sets):
            progress.stage(
                f"{texts.name}, {_prompt(one.config)}, {one.config.pooling}", len(texts.texts)
            )
            parts = []
            for start in range(0, len(texts.texts), SLICE_TEXTS):
                some = texts.texts[start : start + SLICE_TEXTS]
                parts.append(encode_chunks(model, some).vectors)
                progress.advance(len(some))
            scores[place].append(
                Score(
                    name=texts.name,
                    prompt=_prompt(one.config),
                    pooling=one.config.pooling,
                    token_prepending=one.config.token_prepending is not None,
                    contrastive_prompting=one.config.contrastive_prompting is not None,
                    texts=len(texts.texts),
                    clusters=texts.classes,
                    by_seed=_V_MEASURES[protocol](np.concatenate(parts), texts.labels, seeds),
                )
            )
    return [score for place in scores for score in scores[place]]


def v_measures(vectors_ND: Floats, labels: Sequence[str], *, seeds: int) -> tuple[float, ...]:
    """V-measure of k-means with as many clusters as labels, for the seeds 0, 1, ...

    Args:
        vectors_ND: float32 (N, D), of any length but 0.
        labels: of each of them.
        seeds: how many.
    """
    from sklearn.metrics import v_measure_score

    unit_ND = unit_rows(vectors_ND)
    k = distinct_rows(unit_ND, limit=len(set(labels)))
    return tuple(
        float(v_measure_score(labels, partition(unit_ND, k, seed=seed, starts=STARTS)))
        for seed in range(seeds)
    )


_V_MEASURES: Final[dict[Protocol, Callable[[Floats, Sequence[str], int], tuple[float, ...]]]] = {
    "mteb": lambda vectors_ND, labels, seeds: mteb_v_measures(
        unit_rows(vectors_ND), labels, experiments=seeds
    ),
    "kmeans": lambda vectors_ND, labels, seeds: v_measures(vectors_ND, labels, seeds=seeds),
}


def variant(
    specification: EncoderSpecification, *, prompt: str | None, pooling: str | None
) -> EncoderSpecification:
    """The encoder with another prompt or pooling; None: its own.

    Token Prepending is left out of a prompt that has no place for it, Contrastive Prompting of a
    pooling that does not read what it changes.

    Raises:
        InvalidConfig: no such prompt or pooling.
    """
    settings = specification.config.model_dump()
    if prompt is not None:
        settings |= {"template": prompt, "query_template": None}
        if not all(find_template(source).has_placeholder for source in expand(prompt)):
            settings["token_prepending"] = None
    if pooling is not None:
        settings["pooling"] = pooling
    try:
        config = EncoderConfig(**settings)
    except InvalidConfig:
        if settings["contrastive_prompting"] is None:
            raise
        config = EncoderConfig(**settings | {"contrastive_prompting": None})
    return specify(specification.name, config)


def _prompt(config: EncoderConfig) -> str:
    return config.template if isinstance(config.template, str) else " + ".join(config.template)
