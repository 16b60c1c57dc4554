"""Reference texts and their vectors: whether an encoder still gives what it gave at first.

A fingerprint covers the files and the settings, not what computes with them: another release of
torch or transformers, another processor or kernel may give other vectors for the same fingerprint.
A collection therefore keeps the vectors of a few texts, made when it was; whoever writes into it
makes them again and compares.
"""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from embedder.config import Dtype
from embedder.errors import CanaryDrift, InvalidConfig, NonFiniteActivation
from embedder.precision import Float32

if TYPE_CHECKING:
    from embedder.encoder import Encoder

Canary: TypeAlias = tuple[tuple[float, ...], ...]
"""A vector for each reference text: unit length, rounded to `DIGITS`."""

DIGITS: Final = 7
"""Significant digits that are kept: float32 has no more."""

NORMALISED: Final = 4
"""Tokens of room for what `normalise_text` adds to a text."""

CANARY_TEXTS: Final[tuple[str, ...]] = (
    "lamp",
    "A lighthouse keeper trims the lamp at dusk, before the fog comes in.",
    "Поздно ночью в библиотеке горела одна лампа. 真夜中の図書館に灯りが一つだけ残っていた",
    "Invoice 2024-0317: 3 x 416.50 + 7 % VAT = 1,336.97 EUR (-0.5 %), due 2024-04-16 at 09:30.",
    'This sentence : "The sentence belongs to no cluster" means in one word:"',
    "The river rises in a bog below the pass, takes the water of four valleys, and is wide enough "
    "for barges when it comes to the first town. There it was dammed in spring, and the mill that "
    "had stood on the left bank for two centuries lost its wheel; the miller's daughter kept the "
    "book of levels all the same, a line every evening, and it is from her figures that we know "
    "how low the water stood in the dry year, and that the great flood came at night.",
)
"""From one word to a hundred, in three scripts, with figures, with a template's own words.

For good: another text in a place makes every collection look drifted. One may be added at the end.
"""

LEAST_COSINE: Final[Mapping[Dtype, float]] = {
    "float32": 0.99999,
    "float16": 0.999,
    "bfloat16": 0.995,
}
"""What the cosine of each reference text with its stored vector must reach, by the model's dtype.

Below it the encoder has drifted. Other kernels for the same sums stay well above.
"""

_REMEDY: Final = (
    "use the torch and transformers releases, the device and the settings that it was made with, "
    "or re-embed into a new collection"
)


def canary_vectors(encoder: "Encoder") -> Canary:
    """The vectors of the reference texts, encoded as documents.

    Returns:
        As many vectors as `CANARY_TEXTS`, each of unit length, `DIGITS` significant digits.

    Raises:
        InvalidConfig: the model gives no finite vector for such a text.
    """
    try:
        vectors_ND = _encode(encoder, CANARY_TEXTS)
    except NonFiniteActivation as error:
        raise InvalidConfig(
            f"{_named(error.index)} gives no finite vector in {encoder.config.dtype}; "
            "use dtype bfloat16 or float32"
        ) from error
    return tuple(tuple(_rounded(value) for value in row) for row in vectors_ND.tolist())


def check_canary(encoder: "Encoder", stored: Canary) -> None:
    """Refuse an encoder that no longer gives the stored vectors.

    Args:
        encoder: The one in use; its fingerprint is the collection's.
        stored: What `canary_vectors` gave when the collection was made; empty: nothing is checked.

    Raises:
        CanaryDrift: the cosine of a reference text with its stored vector is below the bound of
            `LEAST_COSINE`.
    """
    texts = CANARY_TEXTS[: len(stored)]  # a program of another day may know fewer texts, or more
    if not texts:
        return
    dtype = encoder.config.dtype
    least = LEAST_COSINE[dtype]
    try:
        now_ND = _encode(encoder, texts)
    except NonFiniteActivation as error:
        raise CanaryDrift(
            f"{_named(error.index)} gives no finite vector any more in {dtype}; {_REMEDY}"
        ) from error
    then_ND = np.asarray(stored[: len(texts)], dtype=np.float64)
    cosine_N = _cosine(now_ND.astype(np.float64), then_ND)
    worst = int(cosine_N.argmin())
    if not cosine_N[worst] >= least:
        raise CanaryDrift(
            f"{_named(worst)} has cosine {cosine_N[worst]:.6f} with its vector of when the "
            f"collection was made, expected at least {least} in {dtype}; {_REMEDY}"
        )


def _encode(encoder: "Encoder", texts: Sequence[str]) -> Float32:
    """Unit vectors of the texts, (N, D): before they lose bits, which would hide a drift."""
    if encoder.config.on_overflow == "error":  # else the encoder cuts, always at the same place
        texts = [_cut(text, encoder) for text in texts]
    vectors_ND: Float32 = encoder.encode_document(texts, precision="float32")
    return vectors_ND


def _cut(text: str, encoder: "Encoder") -> str:
    """As much of the text as the encoder takes without complaint."""
    tokenizer = Tokenizer.from_str(encoder.tokenizer_json)
    room = max(0, encoder.max_text_tokens - NORMALISED)
    while len(tokens := tokenizer.encode(text, add_special_tokens=False)) > room:
        text = text[: tokens.offsets[room][0]]  # the start of a word can have more tokens than it
    return text


def _cosine(
    first_ND: npt.NDArray[np.float64], second_ND: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Of each row with its counterpart, (N,); stored digits leave lengths a little off 1."""
    lengths_N = np.linalg.norm(first_ND, axis=1) * np.linalg.norm(second_ND, axis=1)
    cosine_N: npt.NDArray[np.float64] = (first_ND * second_ND).sum(axis=1) / lengths_N
    return cosine_N


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _named(index: int) -> str:
    return f"reference text {index + 1} ({shorten(CANARY_TEXTS[index], 40, placeholder=' ...')!r})"
