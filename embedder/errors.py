"""Everything that can go wrong in `embedder`: one tree, each message with value, expectation, remedy."""


class EmbedderError(Exception):
    """Root of the package's errors."""


class InvalidConfig(EmbedderError):
    """A setting cannot be right for this model: a layer beyond it, an unknown template, a bad range."""


class ModelUnavailable(EmbedderError):
    """The model folder is missing, incomplete, unsafe (pickled weights) or not reachable."""


class UnsupportedArchitecture(EmbedderError):
    """The layer loop does not know this architecture."""


class InvalidText(EmbedderError):
    """A text cannot be encoded: not a string, or not valid Unicode."""


class NonFiniteActivation(EmbedderError):
    """The model gave NaN or infinity for a text."""
