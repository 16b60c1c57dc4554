"""An address on the web in one spelling: as it is fetched, and as it may be seen."""

import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import unquote

from flows.documents.remote.redaction import redacted_path, redacted_query, redacted_text
from flows.errors import InvalidInput

MAX_URL_CHARACTERS: Final = 2000
MAX_ID_CHARACTERS: Final = 512
"""Longer identities are cut, and end in a hash of the whole."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(rb"[a-z0-9._-]+|[0-9a-f:.]+:[0-9a-f:.]*")
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]")


@dataclass(frozen=True)
class WebAddress:
    """An http or https address without fragment, its host in lower case, its path absolute.

    Attributes:
        url: As it is fetched, in ASCII. It may hold secrets, and is neither stored nor shown.
        shown: The same without parameters that look like secrets.
        scheme: `http` or `https`.
        host: As it is looked up; an IPv6 address without brackets.
        port: The one that is connected to.
        site: Host, and the port where it is not the scheme's own.
        target: Path and query as they are asked for.
    """

    url: str = field(repr=False)
    shown: str
    scheme: str
    host: str
    port: int
    site: str
    target: str = field(repr=False)

    def __str__(self) -> str:
        return self.shown

    @property
    def origin(self) -> str:
        """Scheme and site: what one `robots.txt` speaks of."""
        return f"{self.scheme}://{self.site}"

    @property
    def path(self) -> str:
        """The path below the host, decoded, without the slash that it begins with."""
        path = self.shown.removeprefix(self.origin).partition("?")[0]
        return unquote(path, errors="backslashreplace")[1:]

    @property
    def name(self) -> str:
        """The path's last part, decoded; empty where the path ends in a slash."""
        return self.path.rpartition("/")[2]


def web_address(text: str) -> WebAddress:
    """Read an address; secrets in it are fetched with, and appear in no message.

    Raises:
        InvalidInput: It is no http or https address, holds a user or password, or is too long.
    """
    import httpx

    said = f"address {redacted_text(text[:MAX_URL_CHARACTERS])!r}"
    if len(text) > MAX_URL_CHARACTERS:
        raise InvalidInput(
            f"{said[:100]}...: {len(text)} characters; at most {MAX_URL_CHARACTERS} are taken"
        )
    if _FORBIDDEN.search(text):
        raise InvalidInput(f"{said}: holds a space, backslash or control character; encode it as %")
    try:
        url = httpx.URL(text)
        scheme, host, port = url.scheme, url.raw_host.lower().removesuffix(b"."), url.port
    except (httpx.InvalidURL, ValueError):  # what it says may be a piece of a password
        raise InvalidInput(f"{said}: not an address; expected e.g. https://host/page") from None
    if scheme not in _DEFAULT_PORTS:
        raise InvalidInput(f"{said}: not on the web; expected http:// or https://")
    if url.userinfo:
        raise InvalidInput(
            f"address on {_site(host, None)!r}: has a user name or password before the host, which "
            "would be stored; remove it"
        )
    if not _HOST.fullmatch(host):
        raise InvalidInput(f"{said}: has no host that can be one; expected e.g. https://host/page")
    path, _, query = url.raw_path.decode("ascii").partition("?")
    site = _site(host, port)
    kept = redacted_query(query)
    return WebAddress(
        url=f"{scheme}://{site}{path}{f'?{query}' if query else ''}",
        shown=f"{scheme}://{site}{redacted_path(path)}{f'?{kept}' if kept else ''}",
        scheme=scheme,
        host=host.decode("ascii"),
        port=port or _DEFAULT_PORTS[scheme],
        site=site,
        target=f"{path}{f'?{query}' if query else ''}",
    )


def joined(base: WebAddress, location: str) -> WebAddress:
    """Where a redirect leads.

    Raises:
        InvalidInput: See `web_address`.
    """
    import httpx

    try:
        return web_address(str(httpx.URL(base.url).join(location.strip())).partition("#")[0])
    except (httpx.InvalidURL, ValueError):
        raise InvalidInput(f"{redacted_text(location)[:100]!r} is not an address") from None


def identity(shown: str) -> str:
    """A document's id, from its address without secrets; two addresses never share one.

    Ids of local documents hold no `//`, so that they never equal one of these either.
    """
    if len(shown) <= MAX_ID_CHARACTERS:
        return shown
    mark = sha256(shown.encode()).hexdigest()[:32]
    return f"{shown[:MAX_ID_CHARACTERS]}~{mark}"  # longer than any that is not cut


def _site(host: bytes, port: int | None) -> str:
    name = host.decode("ascii", "backslashreplace")
    name = f"[{name}]" if ":" in name else name
    return name if port is None else f"{name}:{port}"
