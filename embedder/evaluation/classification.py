"""Transfer tasks: logistic regression on frozen vectors, by SentEval's protocol (arXiv 1803.05449).

- One text a row: its vector. Two texts a row, as in MRPC: `|u - v|` and `u * v`, side by side.
- Splits `train`, `dev`, `test`: the strength C of the regression is the best on `dev`, the accuracy
  that on `test`. Without `dev`, C is chosen by cross-validation on `train`.
- No splits: stratified 10-fold cross-validation; in each fold C is chosen by an inner one on what
  the fold trains with, so that no text chooses what it is tested with.

SentEval tries C from 2^-2 to 2^3, on vectors as long as their models make them. Ours are unit
vectors, as they are stored, whose short components want less regularisation: C is tried from 1/4
to 64. Everything runs on one thread, so that a result does not depend on the machine's cores.

Legend: `N` rows, `D` components, `F` features.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from embedder.errors import InvalidConfig
from embedder.evaluation.sts import Encode
from embedder.precision import Float32

FOLDS: Final = 10
STRENGTHS: Final = (0.25, 1.0, 4.0, 16.0, 64.0)
"""C, the inverse of the regularisation."""
ITERATIONS: Final = 200
"""Most steps of the optimiser for one fit."""
TOLERANCE: Final = 1e-5
"""Of the optimiser; components of unit vectors are small, and so are gradients."""
SPLITS: Final = ("train", "dev", "test")

Rows = npt.NDArray[np.int64]
ProgressCallback = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationSet:
    """Labelled texts or pairs of texts.

    Raises:
        InvalidConfig: fewer than two labels, splits without `train` or `test`, or a `train` of one
            label; or a label that has a single text, where there are no splits.
    """

    name: str
    texts: tuple[str, ...]
    others: tuple[str, ...] | None
    """The second text of each row; None: the rows have one text."""
    labels: tuple[str, ...]
    splits: tuple[str, ...] | None
    """Of each row, from `SPLITS`; None: there are none."""

    def __post_init__(self) -> None:
        label_N = np.array(self.labels)
        names, counts = np.unique(label_N, return_counts=True)
        if len(names) < 2:
            raise InvalidConfig(
                f"{self.name!r} has {len(names)} label; expected 2 or more, to tell apart"
            )
        if self.splits is None:
            if counts.min() < 2:
                raise InvalidConfig(
                    f"label {str(names[counts.argmin()])!r} of {self.name!r} has one text; "
                    "cross-validation needs 2 or more of each"
                )
            return
        if missing := [split for split in ("train", "test") if split not in self.splits]:
            raise InvalidConfig(
                f"{self.name!r} has no {missing[0]} split; expected train and test, and perhaps "
                "dev, or no splits at all"
            )
        trained = {label for label, s in zip(self.labels, self.splits, strict=True) if s == "train"}
        if len(trained) < 2:
            raise InvalidConfig(
                f"the train split of {self.name!r} has one label ({next(iter(trained))!r}); "
                "expected 2 or more"
            )

    def __len__(self) -> int:
        return len(self.texts)

    def sample(self, limit: int, *, seed: int) -> "ClassificationSet":
        """At most so many rows, drawn at random, each split and label in its proportion.

        Raises:
            InvalidConfig: what is left cannot be classified.
        """
        if limit >= len(self):
            return self
        splits = self.splits or ("",) * len(self)
        strata = [f"{split} {label}" for split, label in zip(splits, self.labels, strict=True)]
        # Rows at even steps through the strata, each in random order.
        order_N = np.random.default_rng(seed).permutation(len(self))
        order_N = order_N[np.argsort(np.array(strata)[order_N], kind="stable")]
        steps = np.linspace(0, len(self), limit, endpoint=False).astype(np.int64)
        rows = np.sort(order_N[steps]).tolist()
        return ClassificationSet(
            name=self.name,
            texts=tuple(self.texts[i] for i in rows),
            others=None if self.others is None else tuple(self.others[i] for i in rows),
            labels=tuple(self.labels[i] for i in rows),
            splits=None if self.splits is None else tuple(self.splits[i] for i in rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationScore:
    """One set, classified."""

    name: str
    accuracy: float
    """Part of the tested rows whose label was found, 0 to 1."""
    std: float | None
    """Standard deviation over the folds; None with given splits."""
    tested: int
    """Rows that were tested: with cross-validation all."""
    classes: int
    protocol: str
    strengths: tuple[float, ...]
    """The C that was chosen, for each fold."""


def measure_classification(
    labelled: ClassificationSet,
    encode: Encode,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    progress: ProgressCallback = lambda: None,
) -> ClassificationScore:
    """Accuracy of logistic regression on the vectors that `encode` makes; see `classify`."""
    texts = [*labelled.texts, *(labelled.others or ())]
    distinct = list(dict.fromkeys(texts))
    place = {text: index for index, text in enumerate(distinct)}
    vectors_ND = encode(distinct)
    first_ND = vectors_ND[[place[text] for text in labelled.texts]]
    second_ND = (
        None if labelled.others is None else vectors_ND[[place[text] for text in labelled.others]]
    )
    features_NF = features(first_ND, second_ND)
    return classify(labelled, features_NF, folds=folds, seed=seed, progress=progress)


def features(first_ND: Float32, second_ND: Float32 | None = None) -> Float32:
    """What the regression reads, float32 (N, D), or (N, 2D) of pairs; see the module's text."""
    if second_ND is None:
        return first_ND
    return np.concatenate([np.abs(first_ND - second_ND), first_ND * second_ND], axis=1)


def classify(
    labelled: ClassificationSet,
    features_NF: Any,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    progress: ProgressCallback = lambda: None,
) -> ClassificationScore:
    """Accuracy by the splits, or by nested cross-validation; the same seed gives the same folds.

    Args:
        labelled: labels and splits.
        features_NF: of its rows; dense, or a sparse matrix of scipy's with rows (CSR).
        folds: of the outer and the inner cross-validation, 2 or more; fewer where labels are rare.
        seed: of the folds.
        progress: is told of every fold, and of every split evaluation.
    """
    label_N = np.unique(np.array(labelled.labels), return_inverse=True)[1]
    classes = int(label_N.max()) + 1
    if labelled.splits is not None:
        split_N = np.array(labelled.splits)
        train, dev, test = (np.flatnonzero(split_N == split) for split in SPLITS)
        if len(dev):
            chosen = _best_strength(features_NF, label_N, [(train, dev)])
            protocol = "C chosen on dev, tested on test"
        else:
            rounds = _rounds(train, label_N, folds, seed)
            chosen = _best_strength(features_NF, label_N, rounds)
            protocol = f"C chosen by {len(rounds)} folds of train, tested on test"
        progress()
        return ClassificationScore(
            name=labelled.name,
            accuracy=_accuracies(features_NF, label_N, train, test, (chosen,))[0],
            std=None,
            tested=len(test),
            classes=classes,
            protocol=protocol,
            strengths=(chosen,),
        )
    right, parts, strengths = 0.0, [], []
    outer = _rounds(np.arange(len(label_N)), label_N, folds, seed)
    for number, (train, test) in enumerate(outer):
        inner = _rounds(train, label_N, folds, seed + 1 + number)
        strength = _best_strength(features_NF, label_N, inner)
        accuracy = _accuracies(features_NF, label_N, train, test, (strength,))[0]
        right += accuracy * len(test)
        parts.append(accuracy)
        strengths.append(strength)
        progress()
    return ClassificationScore(
        name=labelled.name,
        accuracy=right / len(label_N),
        std=float(np.std(parts)),
        tested=len(label_N),
        classes=classes,
        protocol=f"{len(outer)}-fold, C chosen within each",
        strengths=tuple(strengths),
    )


def stratified_folds(label_N: npt.NDArray[np.int64], folds: int, *, seed: int) -> Rows:
    """The fold of each row, (N,), from 0: labels are spread evenly, rows of a label at random.

    >>> stratified_folds(np.array([0, 0, 1, 1, 1, 0]), 3, seed=0).tolist().count(0)
    2
    """
    order_N = np.random.default_rng(seed).permutation(len(label_N))
    order_N = order_N[np.argsort(label_N[order_N], kind="stable")]
    fold_N = np.empty(len(label_N), dtype=np.int64)
    fold_N[order_N] = np.arange(len(label_N)) % folds
    return fold_N


def _rounds(
    rows: Rows, label_N: npt.NDArray[np.int64], folds: int, seed: int
) -> list[tuple[Rows, Rows]]:
    """What to train and to test with in each fold of these rows; both sides are never empty."""
    own = label_N[rows]
    second = np.sort(np.unique(own, return_counts=True)[1])[-2]
    # Of two labels at least something must be left to train with in every fold.
    folds = max(2, min(folds, int(second)))
    fold_N = stratified_folds(own, folds, seed=seed)
    rounds = [(rows[fold_N != fold], rows[fold_N == fold]) for fold in range(folds)]
    return [(train, test) for train, test in rounds if len(np.unique(label_N[train])) > 1]


def _best_strength(
    features_NF: Any, label_N: npt.NDArray[np.int64], rounds: Sequence[tuple[Rows, Rows]]
) -> float:
    """The C of highest mean accuracy over the rounds; of equal ones the smallest."""
    if not rounds:
        return 1.0
    found = [_accuracies(features_NF, label_N, train, test, STRENGTHS) for train, test in rounds]
    return STRENGTHS[int(np.argmax(np.mean(found, axis=0)))]


def _accuracies(
    features_NF: Any,
    label_N: npt.NDArray[np.int64],
    train: Rows,
    test: Rows,
    strengths: Sequence[float],
) -> list[float]:
    """Accuracy on `test` of a regression fitted to `train`, for each C."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    model = LogisticRegression(max_iter=ITERATIONS, tol=TOLERANCE, warm_start=True)
    train_F, test_F = features_NF[train], features_NF[test]
    accuracies = []
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # Where the steps run out the accuracy has long stood still.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in strengths:
            model.set_params(C=strength)
            model.fit(train_F, label_N[train])
            accuracies.append(float((model.predict(test_F) == label_N[test]).mean()))
    return accuracies
