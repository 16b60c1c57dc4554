"""A worker process holds one model."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from embedder.specification import EncoderSpecification, specify
from flows import encoders
from flows.encoders import load_encoder


class Model:
    """Stands for an encoder's weights, and notes how many of its kind there are in memory."""

    living: ClassVar["weakref.WeakSet[Model]"] = weakref.WeakSet()
    most: ClassVar[int] = 0

    def __init__(self, specification: EncoderSpecification) -> None:
        self.specification = specification
        self.itself = self  # a cycle, as modules and hooks make them
        Model.living.add(self)
        Model.most = max(Model.most, len(Model.living))
        if specification.config.max_tokens == 99:
            raise MemoryError


@pytest.fixture
def specifications(
    encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[EncoderSpecification]]:
    """Three encoders, none of them loaded; the last cannot be."""
    monkeypatch.setattr("embedder.encoder.Encoder", Model)
    monkeypatch.setattr(encoders, "_loaded", None)
    gc.collect()
    Model.most = 0
    yield [specify(str(encoder_folder), {"max_tokens": most}) for most in (64, 128, 99)]


def test_the_old_weights_go_before_the_new_ones_come(
    specifications: list[EncoderSpecification],
) -> None:
    """Never two in memory: room for one model need not be room for two."""
    first, second, _ = specifications
    for specification in (first, second, first):
        assert load_encoder(specification).specification == specification
    assert Model.most == 1


def test_an_encoder_is_loaded_once(specifications: list[EncoderSpecification]) -> None:
    """Whoever asks for the same settings of the same files gets the same one."""
    first, *_ = specifications
    loaded: Any = load_encoder(first)
    again = specify(first.name, first.config)
    assert again is not first
    assert load_encoder(again) is loaded


def test_a_load_that_fails_leaves_none(specifications: list[EncoderSpecification]) -> None:
    """The next one starts afresh."""
    first, _, broken = specifications
    load_encoder(first)
    with pytest.raises(MemoryError):
        load_encoder(broken)
    gc.collect()
    assert len(Model.living) == 0
    assert load_encoder(first).specification == first
