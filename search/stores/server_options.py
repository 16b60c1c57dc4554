"""How to talk to a Qdrant server; whoever opens the store chooses. Free of Qdrant's client."""

from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

GRPC_PORT: Final = 6334
TIMEOUT_SECONDS: Final = 60.0
STREAMS: Final = 4
MAX_REQUEST_MB: Final = 5.0

Port: TypeAlias = Annotated[int, Field(ge=1, le=65_535)]
Timeout: TypeAlias = Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)]
Streams: TypeAlias = Annotated[int, Field(ge=1, le=64)]
Megabytes: TypeAlias = Annotated[float, Field(ge=0.1, le=30, allow_inf_nan=False)]


class ServerOptions(BaseModel):
    """Protocol, ports, times and certificates. Holds no secret: the API key goes another way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grpc: bool = True
    """Whether requests go by gRPC, which is faster; False where only HTTP gets through, and where
    the address has a path, which gRPC has no place for."""
    grpc_port: Port = GRPC_PORT
    timeout_seconds: Timeout = TIMEOUT_SECONDS
    """For one request, answer included."""
    streams: Streams = STREAMS
    """Requests with points that are under way at once, over all collections of the store."""
    max_request_mb: Megabytes = MAX_REQUEST_MB
    """Points are sent in requests of at most so many million bytes, and a larger point alone.
    Servers take 32 by default; a proxy before it may take 1 only."""
    ca_certificate: Path | None = None
    """PEM file of the authority that signed the server's certificate; then no other one is
    trusted. None: those that the machine trusts. Wants an `https://` address."""
    allow_insecure_key: bool = False
    """Whether an API key may go over plain `http://` to another machine, where whoever listens
    reads it: in a private network of containers, say. To this machine it always may."""
