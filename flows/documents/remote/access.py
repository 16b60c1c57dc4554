"""What the remote sources of one run share: limits, a spool, and one way to the web."""

from functools import cached_property
from typing import TYPE_CHECKING

from flows.documents.remote.limits import RemoteLimits
from flows.documents.remote.spool import Spool
from flows.errors import InvalidInput

if TYPE_CHECKING:
    from flows.documents.remote.web_client import WebClient


class RemoteAccess:
    """Made for one listing; its documents hold on to what they need of it."""

    def __init__(self, limits: RemoteLimits) -> None:
        self.limits = limits
        self._given: dict[str, str] = {}

    @cached_property
    def spool(self) -> Spool:
        """Where fetched bytes are kept."""
        return Spool()

    @cached_property
    def client(self) -> "WebClient":
        """The web, as far as it may be reached."""
        from flows.documents.remote.web_client import WebClient

        return WebClient(allow_private=self.limits.allow_private_addresses)

    def claim(self, shown: str, given: str) -> None:
        """Note a source; without their secrets, two must not look the same.

        Raises:
            InvalidInput: Another source looks like this one.
        """
        if self._given.setdefault(shown, given) != given:
            raise InvalidInput(
                f"source {shown!r}: given twice, with other parameters that look like secrets and "
                "are not stored, so that the two cannot be told apart; give one of them"
            )
