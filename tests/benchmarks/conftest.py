"""Model folders of the tiny shape, for the contenders of the encoder's benchmark."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.shapes import SHAPES, write_model


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """On decoders this small a second thread only waits, and for long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with weights large enough for attention to be peaked; not to be written to."""
    path = tmp_path_factory.mktemp("shapes") / "tiny"
    write_model(SHAPES["tiny"], path, std=0.15)
    return path


@pytest.fixture(scope="session")
def measured_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with the weights that the benchmark measures with; not to be written to."""
    path = tmp_path_factory.mktemp("shapes") / "measured"
    write_model(SHAPES["tiny"], path)
    return path
