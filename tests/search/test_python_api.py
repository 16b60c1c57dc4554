"""The package as programs use it: the lines of its docstring, and the names that it promises."""

import contextlib
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import search
from search.records import Point
from search.stores.contract import Manifest


class Lamps:
    """An encoder that looks for lamps."""

    fingerprint = "f" * 64

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """East for lamps, north for all else."""
        rows = [[1, 0, 0, 0] if "lamp" in text else [0, 1, 0, 0] for text in sentences]
        return np.array(rows, dtype=np.float32)


def _example() -> str:
    """The indented lines of the docstring."""
    lines = (inspect.getdoc(search) or "").splitlines()
    shown = [line for line in lines if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(shown))


@pytest.mark.parametrize("with_encoder", [True, False])
def test_the_lines_of_the_docstring_run(
    folder: Path,
    manifest: Callable[..., Manifest],
    chunk: Callable[..., Point],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    with_encoder: bool,
) -> None:
    """They find the page about lamps first, print where it stands, and close the store."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    lamp, bread = chunk("lamps", 3), chunk("bread", vector=(0, 1, 0, 0))
    lamp.payload["page_content"] = "A lamp stands by the sea."
    with contextlib.closing(search.open_store(".sextant")) as store:
        store.create(manifest("docs")).upsert([bread, lamp])
    names: dict[str, Any] = {"encoder": Lamps() if with_encoder else None}
    exec(compile(_example(), "search/__init__.py", "exec"), names)  # noqa: S102 - our own lines
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "1 Lamps lamps.md 30 42 A lamp stands by the sea."
    assert len(printed) == (2 if with_encoder else 1)
    assert (names["result"].degraded is None) == with_encoder
    with contextlib.closing(search.open_store(".sextant")) as store:
        assert store.open("docs").count() == 2  # it is free again


def test_every_name_is_there() -> None:
    """What `__all__` promises can be imported; what it does not is refused in a line."""
    for name in search.__all__:
        assert getattr(search, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'search' has no attribute 'serach'"):
        search.serach  # noqa: B018


def test_importing_it_is_light() -> None:
    """Neither a model's nor an engine's library comes with the import alone."""
    heavy = ["torch", "prefect", "qdrant_client", "qdrant_edge"]
    code = f"import search, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
