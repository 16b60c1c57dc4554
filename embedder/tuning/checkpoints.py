"""Checkpoints: folders that are there as a whole or not at all, and from which a run goes on.

A checkpoint holds what is trained, the optimiser's moments, and a few numbers. Everything else
(order of the data, dropout, learning rate) follows from the settings and the step. All tensors are
safetensors; nothing is ever unpickled.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from embedder.errors import ModelUnavailable
from embedder.tuning.errors import TuningFailed

PREFIX: Final = "checkpoint-"
WEIGHTS: Final = "trained.safetensors"
MOMENTS: Final = "optimizer.safetensors"
STATE: Final = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands."""

    step: int
    """Steps that are done."""
    chunk: int
    """Texts at once: less than was asked for where memory lacked."""
    seconds: float = 0.0
    """Time of training so far."""
    tokens: int = 0
    truncated: int = 0
    base: float | None = None
    """The dev measure before the first step."""
    best: float | None = None
    best_step: int = 0
    behind: int = 0
    """Dev measures since the best."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: where they lie; it exists.
    """

    folder: Path
    _names: tuple[str, ...] = field(default=(WEIGHTS, MOMENTS, STATE), repr=False)

    def steps(self) -> list[int]:
        """The steps of which there are whole checkpoints, rising."""
        found = [p.name.removeprefix(PREFIX) for p in self.folder.glob(f"{PREFIX}*")]
        return sorted(int(step) for step in found if step.isdecimal())

    def tidy(self) -> None:
        """Remove what a killed process left half written."""
        for left in self.folder.glob(".*.tmp"):
            shutil.rmtree(left, ignore_errors=True)

    def save(
        self,
        progress: Progress,
        trained: Mapping[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Write a checkpoint; a process that is killed meanwhile leaves none.

        Raises:
            TuningFailed: it cannot be written.
        """
        moments = {
            f"{key}:{name}": value
            for name, parameter in trained.items()
            for key, value in optimizer.state.get(parameter, {}).items()
        }
        place = self._place(progress.step)
        temporary = place.with_name(f".{place.name}.tmp")
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            save_file(_on_cpu(trained), temporary / WEIGHTS)
            save_file(_on_cpu(moments), temporary / MOMENTS)
            (temporary / STATE).write_text(json.dumps(asdict(progress), indent=1) + "\n")
            for path in (*temporary.iterdir(), temporary):
                flush(path)
            if place.exists():  # of a run that went on from an earlier one
                shutil.rmtree(place)
            temporary.replace(place)
            flush(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise TuningFailed(
                f"the checkpoint of step {progress.step} cannot be written to "
                f"{str(self.folder)!r} ({error}); earlier ones are whole: make room, then --resume"
            ) from error

    def progress(self, step: int) -> Progress:
        """Where the run stood at a checkpoint.

        Raises:
            ModelUnavailable: its file is damaged.
        """
        path = self._place(step) / STATE
        try:
            return Progress(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(path, error) from error

    def restore(
        self,
        step: int,
        trained: Mapping[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """Put a checkpoint's weights, and the optimiser's moments, back.

        Raises:
            ModelUnavailable: its files are damaged, or of another model.
        """
        place = self._place(step)
        weights = self._read(place / WEIGHTS)
        if wrong := set(weights) ^ set(trained):
            raise _damaged(place / WEIGHTS, f"tensor {min(wrong)} is in one of the two alone")
        with torch.no_grad():
            for name, parameter in trained.items():
                if weights[name].shape != parameter.shape:
                    raise _damaged(place / WEIGHTS, f"tensor {name} has another shape")
                parameter.copy_(weights[name])
        if optimizer is None:
            return
        optimizer.state.clear()
        for key, value in self._read(place / MOMENTS).items():
            moment, _, name = key.partition(":")
            parameter = trained[name]
            optimizer.state[parameter][moment] = value.to(parameter.device)

    def keep(self, steps: Iterable[int]) -> None:
        """Remove all checkpoints but these."""
        for step in set(self.steps()) - set(steps):
            shutil.rmtree(self._place(step), ignore_errors=True)

    def _place(self, step: int) -> Path:
        return self.folder / f"{PREFIX}{step:08d}"

    def _read(self, path: Path) -> dict[str, Tensor]:
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise _damaged(path, error) from error


def flush(path: Path) -> None:
    """Have a file or folder on the disk, should the machine stop."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _on_cpu(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value.detach().contiguous().cpu() for name, value in tensors.items()}


def _damaged(path: Path, reason: object) -> ModelUnavailable:
    return ModelUnavailable(
        f"{str(path)!r} cannot be used ({reason}); remove its folder to go on from the checkpoint "
        "before"
    )
