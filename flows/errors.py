"""Everything that can go wrong in `flows`: one tree.

Each message gives the value, what was expected, and the remedy in one line.
"""


class FlowError(Exception):
    """Root of the package's errors."""


class InvalidInput(FlowError):
    """A value given on the command line or in settings is wrong. Exit code 2."""


class SourceUnavailable(FlowError):
    """A source is missing, empty, or cannot be read, so that nothing may be concluded from it."""


class RemovalsRefused(FlowError):
    """A run would remove more of what is stored than may go unasked; it did nothing."""


class DocumentRejected(FlowError):
    """One document cannot be read, parsed or chunked: it goes to quarantine with this message."""
