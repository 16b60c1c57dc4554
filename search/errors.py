"""What can go wrong in `search`: one tree; a message gives value, expectation, remedy."""


class SearchError(Exception):
    """Root of the package's errors."""


class InvalidRequest(SearchError):
    """The caller's own value is wrong: a limit, a filter, a name, a vector's shape."""


class CollectionNotFound(SearchError):
    """The store holds no collection of that name."""


class CollectionExists(SearchError):
    """A collection of that name is already there."""


class FingerprintMismatch(SearchError):
    """The collection was built by another encoder than the one in use."""


class EncoderUnavailable(SearchError):
    """The encoder that queries need cannot be loaded, or gave no answer; words still find."""


class WordsMissing(SearchError):
    """The collection has no vectors of words: it was made before there were any."""


class StoreInUse(SearchError):
    """Another process holds the embedded store."""


class StoreUnavailable(SearchError):
    """The store cannot be reached, opened, or stopped answering."""


class StoreFull(StoreUnavailable):
    """The embedded store's disk has no room for a write, or ran out of it; deletes still work."""


class InvalidPoint(SearchError):
    """A point that would corrupt the store: NaN, wrong dimension, not JSON, a bad id."""
