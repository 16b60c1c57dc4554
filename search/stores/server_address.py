"""What is looked at before anything is sent: the server's address, the key, the certificate."""

import ipaddress
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from search.errors import InvalidRequest
from search.stores.server_options import ServerOptions


class Authority(NamedTuple):
    """Who vouches for the server: certificates as PEM, and TLS settings that trust only them."""

    pem: bytes
    context: ssl.SSLContext


def check_url(url: str) -> str:
    """The server's address, cleaned: scheme, host, port and path.

    Raises:
        InvalidRequest: not http or https, no host, or anything that may be a secret. The message
            does not repeat the address then.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"server address: {error}; expected e.g. http://host:6333") from None
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest(
            "server address holds a user or password, which logs would show; "
            "leave it out and pass the API key as `api_key`"
        )
    if parts.query or parts.fragment:
        raise InvalidRequest(
            "server address holds a query or fragment; expected e.g. http://host:6333, "
            "with the API key passed as `api_key`"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(
            f"server address {url!r}: expected http:// or https:// and a host, "
            "e.g. http://localhost:6333"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port_text = "" if port is None else f":{port}"
    return f"{parts.scheme}://{host}{port_text}{parts.path.rstrip('/')}"


def is_loopback(location: str) -> bool:
    """Whether the address is this machine's own, so that nothing sent there leaves it."""
    host = urlsplit(location).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_key(key: SecretStr | None, *, location: str, options: ServerOptions) -> str | None:
    """The API key in clear, if it may be sent to this address.

    A header that the HTTP library refuses is quoted in its error, so that the key is looked at
    here.

    Raises:
        InvalidRequest: the key is empty or no ASCII without spaces, or would go over an open
            network unencrypted and nobody allowed that. The message does not repeat the key.
    """
    if key is None:
        return None
    text = key.get_secret_value()
    if not text or not all("!" <= letter <= "~" for letter in text):
        raise InvalidRequest(
            "API key is empty, or holds a space, a line's end or a letter that is not ASCII; "
            "expected the key as the server has it"
        )
    is_open = location.startswith("http://") and not is_loopback(location)
    if is_open and not options.allow_insecure_key:
        raise InvalidRequest(
            f"an API key for {location} would go over the network unencrypted; use https://, or "
            "allow it with `allow_insecure_key` (SEXTANT_SERVER_INSECURE_KEY=true) if nobody "
            "else is in that network"
        )
    return text


def read_authority(options: ServerOptions, *, location: str) -> Authority | None:
    """The certificates to trust instead of the machine's own, or None.

    Raises:
        InvalidRequest: the file cannot be read or holds no certificate, or the address is not
            `https://`, so that no certificate would be asked for.
    """
    path = options.ca_certificate
    if path is None:
        return None
    if not location.startswith("https://"):
        raise InvalidRequest(
            f"certificate file {str(path)!r} for {location}: expected an https:// address; "
            "leave the file out for http://"
        )
    expected = "expected a PEM file of the authority that signed the server's certificate"
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"certificate file {str(path)!r}: {error.strerror}; {expected}"
        ) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody yet
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ValueError, ssl.SSLError):  # empty, not ASCII; no certificate
        raise InvalidRequest(
            f"certificate file {str(path)!r} holds no certificate; {expected}"
        ) from None
    return Authority(pem, context)
