"""What can go wrong in tuning beside wrong settings, which are `InvalidConfig`."""

from embedder.errors import EmbedderError


class TuningFailed(EmbedderError):
    """A run could not go on: no memory for a single text, a checkpoint that cannot be written."""


class TuningDiverged(TuningFailed):
    """The loss or the gradient was NaN or infinite; `step` says at which step, from 1."""

    def __init__(self, message: str, *, step: int) -> None:
        super().__init__(message)
        self.step = step
