"""The bundled starter model: there without a download, stable, and with some sense of meaning."""

import numpy as np
import pytest

from embedder.encoder import Encoder
from embedder.presets import STARTER_FOLDER
from embedder.specification import specify

TRIPLES = [
    ("A man is playing a guitar.", "Someone plays the guitar.", "The bank raised its rates."),
    ("The cat is sleeping on the sofa.", "A cat naps on a couch.", "He repaired the old engine."),
    ("How do I reset my password?", "I forgot my password.", "The river floods every spring."),
]


@pytest.fixture(scope="module")
def starter() -> Encoder:
    return Encoder.load("starter", device="cpu")


def test_it_is_the_default_and_bundled(starter: Encoder) -> None:
    """`Encoder.load()` is the starter, from the package's own folder."""
    assert starter.specification.files.folder == STARTER_FOLDER.resolve()
    assert starter.specification.name == "starter"


def test_its_fingerprint_is_stable(starter: Encoder) -> None:
    """Two loads are one encoder: same fingerprint, same vectors to the bit."""
    again = Encoder.load(device="cpu")
    assert again.fingerprint == starter.fingerprint == specify("starter").fingerprint
    text = TRIPLES[0][0]
    assert np.array_equal(again.encode(text), starter.encode(text))


def test_unit_length(starter: Encoder) -> None:
    """Vectors have length 1, for odd texts as well."""
    vectors = starter.encode(["A man.", "", "🧿", "word " * 2000, "\x00"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("triple", TRIPLES)
def test_a_paraphrase_is_nearer_than_another_subject(
    triple: tuple[str, str, str], starter: Encoder
) -> None:
    """The floor of any embedding: meaning counts for more than nothing."""
    text, paraphrase, other = starter.encode(list(triple))
    assert float(text @ paraphrase) > float(text @ other) + 0.1
