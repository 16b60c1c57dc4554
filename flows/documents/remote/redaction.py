"""Secrets in addresses: told by the names of parameters, and left out of all that is kept or said.

A secret in a path, or under a name that does not say so, cannot be told.
"""

import re
from typing import Final
from urllib.parse import unquote_plus

_NAMES_LIST: Final = (
    "key auth authorization bearer sig sign hmac pwd pass passwd sid session jwt sas credential "
    "credentials awsaccesskeyid googleaccessid ossaccesskeyid keypairid jsessionid phpsessid"
)
_NAMES: Final = frozenset(_NAMES_LIST.split())
_ENDINGS: Final = (
    "token",
    "secret",
    "password",
    "passphrase",
    "signature",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "authkey",
    "sessionid",
)
_PREFIXES: Final = ("xamz", "xgoog", "xoss", "xcos")
_SIGNED_LIST: Final = (
    "expires policy sv ss srt sp se st spr sr sip skoid sktid skt ske sks skv"  # Azure, CloudFront
)
_SIGNED: Final = frozenset(_SIGNED_LIST.split())
"""What a signature signs: no secret, but new with each signature, so not part of an identity."""
_SIGNATURES: Final = frozenset({"sig", "signature"})
_SEPARATOR: Final = re.compile("([&;])")
_PARAMETER: Final = re.compile(r"([?&;#\s])([^=?&;#\s]{1,64})=([^&;#\s]*)")
_USER: Final = re.compile(r"([/\\]{2}|^[A-Za-z][A-Za-z0-9+.-]*:(?![/\\]))[^?#\s]*@", re.MULTILINE)
"""All up to the last `@`: of an address that cannot be read, nobody knows where the host begins."""


def is_secret(name: str) -> bool:
    """Whether a parameter's name says that its value is a secret.

    >>> [is_secret(name) for name in ("access_token", "X-Amz-Credential", "page")]
    [True, True, False]
    """
    plain = _plain(name)
    return plain in _NAMES or plain.endswith(_ENDINGS) or plain.startswith(_PREFIXES)


def redacted_query(query: str) -> str:
    """A query without the parameters that look like secrets; the others stay letter by letter.

    >>> redacted_query("page=2&token=abc&lang=en")
    'page=2&lang=en'
    """
    parts = _SEPARATOR.split(query)  # parameter, separator, parameter...
    names = [_plain(part.partition("=")[0]) for part in parts[::2]]
    signed = any(name in _SIGNATURES for name in names)
    kept = [
        (separator, part)
        for separator, part, name in zip(("", *parts[1::2]), parts[::2], names, strict=True)
        if not is_secret(name) and not (signed and name in _SIGNED)
    ]
    return "".join(separator + part for separator, part in kept).lstrip("&;")


def redacted_path(path: str) -> str:
    """A path without parameters (`;name=value`) that look like secrets."""

    def parameter(match: re.Match[str]) -> str:
        return "" if is_secret(match[1]) else match[0]

    return re.sub(r";([^=;/]+)=[^;/]*", parameter, path)


def redacted_text(text: str) -> str:
    """A text of any kind, as a message may repeat it: no secret parameters, nobody's password.

    >>> redacted_text("https://me:pass@host/x?token=abc&page=2")
    'https://***@host/x?token=***&page=2'
    """

    def parameter(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}=***" if is_secret(match[2]) else match[0]

    return _PARAMETER.sub(parameter, _USER.sub(r"\1***@", text))


def _plain(name: str) -> str:
    return re.sub(r"[-_.\[\]]", "", unquote_plus(name)).lower()
