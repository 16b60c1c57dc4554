"""A tuning as it is asked for: files read, everything checked, the run begun. Free of prefect."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from embedder.tuning.settings import TuningSettings
from flows.errors import InvalidInput
from flows.pair_files import read_pairs as read_scored_pairs

if TYPE_CHECKING:
    import numpy.typing as npt

    from embedder.tuning.measures import Measure
    from embedder.tuning.objectives import Objective
    from embedder.tuning.trainer import StepDone


class TuneRequest(BaseModel):
    """What to tune on what: the flow's parameter. Paths are as this machine has them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """The encoder to begin with: what `embedder.specification.specify` takes."""
    out: str
    """Folder of the tuned encoder and of the run's record; a new one, or that of a run."""
    pairs: tuple[str, ...] = ()
    """Files of pairs."""
    texts: str | None = None
    """A file with one text a line, for distillation."""
    teacher: str | None = None
    """A .npy file with a teacher's vector of each of these texts."""
    dev: str | None = None
    """A file of scored pairs to hold the run against."""
    dev_pairs: str | None = None
    """A file of pairs whose loss the run is held against."""
    resume: bool = False
    licence: str | None = None
    device: str | None = None
    settings: TuningSettings = TuningSettings()

    def check(self) -> None:
        """Check what was asked for together.

        Raises:
            InvalidInput: there is nothing to learn from, or two things, or half of one.
        """
        if self.pairs and (self.texts or self.teacher):
            raise InvalidInput("--pairs with --texts or --teacher: give pairs or a teacher's texts")
        if not self.pairs and not (self.texts and self.teacher):
            there = "--texts" if self.texts else "--teacher" if self.teacher else "neither"
            raise InvalidInput(
                f"nothing to learn from ({there} was given): give --pairs FILE, or both --texts "
                "FILE.txt and --teacher FILE.npy"
            )
        if self.dev and self.dev_pairs:
            raise InvalidInput("--dev with --dev-pairs: a run is held against one; give one")
        if not self.out.strip():
            raise InvalidInput("--out is empty: expected a folder's name")


def run_tune(
    request: TuneRequest, *, told: "Callable[[StepDone], None] | None" = None
) -> dict[str, Any]:
    """Tune an encoder, or go on with a run.

    Args:
        request: what to do.
        told: is called after every step.

    Returns:
        What the run came to: see `embedder.tuning.run.tune`.

    Raises:
        InvalidInput: a file or a combination is wrong.
        EmbedderError: see `embedder.tuning.run.tune`.
    """
    from embedder.specification import specify

    request.check()
    base = specify(request.base)
    objective, measure = _objective(request), _measure(request)

    from embedder.tuning.run import Tuning, tune

    return tune(
        Tuning(
            base=base,
            objective=objective,
            settings=request.settings,
            out=Path(request.out),
            measure=measure,
            resume=request.resume,
            licence=request.licence,
            device=request.device,
        ),
        told=told,
    )


def leads() -> bool:
    """Whether this process is alone, or the one of torchrun's that speaks."""
    return os.environ.get("RANK", "0") == "0"


def _objective(request: TuneRequest) -> "Objective":
    from embedder.tuning.objectives import PairObjective, TeacherObjective

    if request.pairs:
        from embedder.tuning.pairs import read_pairs

        return PairObjective(read_pairs([Path(file) for file in request.pairs]), request.settings)
    texts, digest = _texts(request.texts or "")
    vectors = _vectors(request.teacher or "")
    with Path(request.teacher or "").open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return TeacherObjective(texts, vectors, digest=digest.hexdigest(), settings=request.settings)


def _measure(request: TuneRequest) -> "Measure | None":
    from embedder.tuning.measures import LossMeasure, ScoreMeasure

    if request.dev:
        return ScoreMeasure(read_scored_pairs(request.dev, option="--dev"))
    if request.dev_pairs:
        from embedder.tuning.pairs import read_pairs

        return LossMeasure(read_pairs([Path(request.dev_pairs)]), request.settings)
    return None


def _texts(file: str) -> tuple[list[str], Any]:
    """One text a line, as `sextant encode` reads them; and a hash that has seen the file."""
    try:
        content = Path(file).read_bytes()
        lines = content.decode("utf-8").split("\n")
    except OSError as error:
        raise InvalidInput(f"--texts {file!r}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"--texts {file!r} is not UTF-8 at byte {error.start}; convert it first"
        ) from None
    lines = lines[:-1] if lines[-1] == "" else lines
    return [line.removesuffix("\r") for line in lines], hashlib.sha256(content)


def _vectors(file: str) -> "npt.NDArray[Any]":
    """A .npy file, mapped into memory; nothing in it is unpickled."""
    import numpy as np

    try:
        vectors: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise InvalidInput(f"--teacher {file!r}: {reason}; check the path") from error
    except (ValueError, EOFError) as error:
        raise InvalidInput(
            f"--teacher {file!r} is no .npy file of numbers; expected what `sextant encode --out` "
            "writes"
        ) from error
    return vectors
