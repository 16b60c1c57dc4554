"""The table of methods names settings that exist and differ."""

from benchmarks.methods import PLAIN, variations
from embedder.config import EncoderConfig
from embedder.specification import specify


def test_every_variation_is_a_valid_encoder_of_its_own() -> None:
    """Each gives a fingerprint that no other one has."""
    config = specify("starter").config
    changed = variations(config)
    prints = {
        name: specify("starter", EncoderConfig(**{**config.model_dump(), **settings})).fingerprint
        for name, settings in changed.items()
    }
    assert len(set(prints.values())) == len(changed)
    assert prints["TP and CP"] == specify("starter").fingerprint
    assert PLAIN in prints
