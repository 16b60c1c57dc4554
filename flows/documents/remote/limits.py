"""What remote sources may do. The default is nothing: no run touches the network unasked."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from flows.errors import InvalidInput

MAX_URLS: Final = 1000
"""Default limit on the web pages of one source."""


class RemoteLimits(BaseModel):
    """What sources beyond this machine's files may do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow_network: bool = False
    """Whether anything may be fetched at all."""
    allow_private_addresses: bool = False
    """Whether hosts may be on this machine or in a private network."""
    max_urls: Annotated[int, Field(ge=1)] = MAX_URLS
    """A source with more web pages is refused before any of them is fetched."""

    def refuse_network(self, shown: str) -> None:
        """Stop before the network is touched, unless it may be.

        Args:
            shown: The source, free of secrets.

        Raises:
            InvalidInput: The network may not be used.
        """
        if not self.allow_network:
            raise InvalidInput(
                f"source {shown!r}: it lies in the network, which is not used unasked; "
                "add --allow-network, or set SEXTANT_ALLOW_NETWORK=true"
            )


NO_NETWORK: Final = RemoteLimits()
