"""Everything that can go wrong in `embedder`: one tree.

Each message gives the value, what was expected, and the remedy in one line.
"""


class EmbedderError(Exception):
    """Root of the package's errors."""


class InvalidConfig(EmbedderError):
    """A setting cannot be right: a layer beyond the model, an unknown template, a bad range."""


class ModelUnavailable(EmbedderError):
    """The model folder is missing, incomplete, unsafe (pickled weights) or not reachable."""


class UnsupportedArchitecture(EmbedderError):
    """The layer loop does not know this architecture."""


class InvalidText(EmbedderError):
    """A text cannot be encoded: not a string, or not valid Unicode."""


class TextTooLong(InvalidText):
    """A text does not fit, and the settings say `on_overflow="error"`; `index` says which."""

    def __init__(self, message: str, *, index: int) -> None:
        super().__init__(message)
        self.index = index


class NonFiniteActivation(EmbedderError):
    """The model gave NaN or infinity for a text; `index` says for which."""

    def __init__(self, message: str, *, index: int) -> None:
        super().__init__(message)
        self.index = index


class CanaryDrift(EmbedderError):
    """The encoder no longer gives the vectors of reference texts that a collection keeps."""
