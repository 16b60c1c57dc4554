"""Addresses: one spelling, no secrets kept, no private network; and what they say of pages."""

from typing import Any

import pytest

from flows.documents.remote.answers import FetchFailed
from flows.documents.remote.guarded_network import is_public
from flows.documents.remote.media_types import listed_format, settled_format
from flows.documents.remote.redaction import is_secret, redacted_query, redacted_text
from flows.documents.remote.remote_sources import is_remote, local_path, shown_source
from flows.documents.remote.sitemaps import iso_date
from flows.documents.remote.web_address import MAX_ID_CHARACTERS, identity, web_address
from flows.errors import InvalidInput


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("HTTPS://Example.ORG", "https://example.org/"),
        ("https://example.org.:443/a/../b#part", "https://example.org/b"),
        ("http://example.org:8080/?q=1", "http://example.org:8080/?q=1"),
        ("https://exämple.org/ü?x=ö", "https://xn--exmple-cua.org/%C3%BC?x=%C3%B6"),
        ("http://[::1]:80/x", "http://[::1]/x"),
        ("https://medium.com/@someone/post", "https://medium.com/@someone/post"),
    ],
)
def test_one_spelling(given: str, url: str) -> None:
    """Case, default ports, fragments and international names make no second document."""
    address = web_address(given)
    assert address.url == address.shown == url


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("https://me:hunter2@example.org/", "user name or password before the host"),
        ("https://hunter2@example.org/", "user name or password before the host"),
        ("https://me:hunt/hunter2@example.org/", "not an address"),
        ("https:me:hunter2@example.org/", "no host"),
        ("http:\\\\me:hunter2@example.org/", "backslash"),
        ("https://example.org/a b?token=hunter2", "holds a space"),
        ("https://example.org:port/?token=hunter2", "not an address"),
        ("ftp://example.org/?token=hunter2", "not on the web"),
        ("https:///x", "no host"),
        ("https://exa$mple.org/", "no host"),
        ("https://" + "a" * 3000, "3008 characters; at most 2000"),
        ("https://example.org/\x07", "control character"),
        ("https://example.org/\udc80", "control character"),
    ],
)
def test_bad_addresses(given: str, message: str) -> None:
    """One line with the reason, and never the secret."""
    with pytest.raises(InvalidInput, match=message) as caught:
        web_address(given)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("page=2&token=abc&lang=en", "page=2&lang=en"),
        ("a=1;sessionid=abc;b=2", "a=1;b=2"),
        ("%74oken=abc", ""),
        ("X-Amz-Signature=a&X-Amz-Date=b&x=1", "x=1"),
        ("x-goog-credential=a", ""),
        ("sv=2020&sp=r&sig=abc&id=3", "id=3"),
        ("se=north&sp=r", "se=north&sp=r"),
        ("Expires=1&Signature=b&Key-Pair-Id=c&v=1", "v=1"),
        ("api_key=a&apiKey=b&API-KEY=c&client_secret=d&userPassword=e", ""),
        ("keyword=a&tokens=b&design=c&monkey=d", "keyword=a&tokens=b&design=c&monkey=d"),
        ("", ""),
    ],
)
def test_secret_parameters(query: str, kept: str) -> None:
    """They are fetched with, and in nothing that is kept."""
    address = web_address(f"https://example.org/x?{query}")
    assert redacted_query(query) == kept
    assert address.shown == f"https://example.org/x{'?' if kept else ''}{kept}"
    assert address.target == f"/x{'?' if query else ''}{query}"
    assert "abc" not in repr(address)


def test_secret_path_parameters() -> None:
    """Sessions in a path, as some servers write them."""
    address = web_address("https://example.org/a;jsessionid=abc/b;v=1?x=1")
    assert address.shown == "https://example.org/a/b;v=1?x=1"


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@h/x",
        "https://me:hun/hunter2@h/x",
        "cannot open s3://b?token=hunter2 here",
        "https:me:hunter2@h",
        "a; X-Amz-Security-Token=hunter2",
        "https://h/?a=b&password=hunter2#x",
        "https://h/#access_token=hunter2",
    ],
)
def test_messages_repeat_no_secret(text: str) -> None:
    """What a driver or parser says is freed of them."""
    assert "hunter2" not in redacted_text(text)


def test_secret_names_are_not_everything() -> None:
    """An ordinary name stays."""
    assert not any(is_secret(name) for name in ("page", "id", "author", "signal", "keys"))


def test_ids_are_bounded_and_differ() -> None:
    """A cut id is longer than any that is not cut, and ends in a hash of the whole."""
    long = "https://example.org/" + "a" * 600
    ids = {identity(long), identity(long + "b"), identity(identity(long)), identity(long[:512])}
    assert len(ids) == 4
    assert max(len(one) for one in ids) == MAX_ID_CHARACTERS + 33
    assert identity("https://example.org/a") == "https://example.org/a"


PRIVATE_LIST = """
127.0.0.1 127.8.9.1 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1
240.0.0.1 255.255.255.255 192.0.2.1 198.18.0.1 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fec0::1 ff02::1
ff0e::1 2001:db8::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1
2002:7f00:1:: 2002:a00:1::1 2001:0:7f00:1::1
"""
PUBLIC_LIST = "8.8.8.8 1.1.1.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808"


def test_private_addresses() -> None:
    """Loopback, private, link-local, shared, multicast, reserved; also within IPv6."""
    assert [address for address in PRIVATE_LIST.split() if is_public(address)] == []


def test_public_addresses() -> None:
    """The internet's, also where they are reached over IPv6."""
    assert all(is_public(address) for address in PUBLIC_LIST.split())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "html"),
        ("page", "html"),
        ("README", "text"),
        ("guide.md", "markdown"),
        ("guide.md.gz", "markdown"),
        ("x.PDF", "pdf"),
        ("index.php", "html"),
        ("page.aspx", "html"),
        ("St._Petersburg", "html"),
        ("v1.2", "html"),
        ("photo.png", None),
        ("data.zip", None),
        ("feed.xml", None),
        ("style.css", "code"),
        ("archive.tar.gz", None),
        ("rows.jsonl", None),
    ],
)
def test_formats_by_name(name: str, expected: str | None) -> None:
    """A suffix that nobody knows belongs to the page's name."""
    assert listed_format(name) == expected


@pytest.mark.parametrize(
    ("listed", "media_type", "expected"),
    [
        ("html", "text/html", "html"),
        ("html", "application/pdf", "pdf"),
        ("html", "text/plain", "text"),
        ("html", "text/markdown", "markdown"),
        ("html", "", "html"),
        ("pdf", "application/octet-stream", "pdf"),
        ("markdown", "text/plain", "markdown"),
        ("code", "text/x-python", "code"),
        ("code", "application/toml", "code"),
        ("code", "text/html", "html"),
        ("markdown", "text/html", "html"),
    ],
)
def test_formats_by_answer(listed: Any, media_type: str, expected: str) -> None:
    """The answer wins where it says more; once settled, it stays so."""
    told = settled_format(listed, media_type)
    assert told == expected
    assert settled_format(told, media_type) == expected


@pytest.mark.parametrize(
    ("listed", "media_type", "message"),
    [
        ("html", "image/png", "answers with 'image/png', which no parser takes"),
        ("markdown", "video/mp4", "no parser takes"),
        ("html", "application/rss+xml", "no parser takes"),
        ("pdf", "text/html", "a page .* where its name says pdf; it may need a login"),
    ],
)
def test_answers_that_are_no_documents(listed: Any, media_type: str, message: str) -> None:
    """Told before a parser makes something of it."""
    with pytest.raises(FetchFailed, match=message):
        settled_format(listed, media_type)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2024", "2024-01-01T00:00:00+00:00"),
        ("2024-05", "2024-05-01T00:00:00+00:00"),
        ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09+00:00"),
        ("2024-05-06T07:08+02:00", "2024-05-06T05:08:00+00:00"),
        ("yesterday", ""),
        ("0001-01-01T00:00:00+23:00", ""),
        ("", ""),
    ],
)
def test_dates_of_sitemaps(text: str, date: str) -> None:
    """W3C's forms; nothing where it is none."""
    assert iso_date(text) == date


def test_what_is_remote() -> None:
    """Addresses and files of addresses; paths are not, however odd."""
    assert all(is_remote(s) for s in ("https://h", "S3://b", "urls:x", "zip::s3://b", "foo://"))
    assert not any(is_remote(s) for s in ("docs", "/a:b", "./urls:x", "file:///a", "python:stdlib"))


def test_file_addresses_are_paths() -> None:
    """Decoded, with all that a name may hold; other machines are refused."""
    assert local_path("file:///a/b%20c?d#e") == "/a/b c?d#e"
    assert local_path("file://localhost/a") == "/a"
    assert local_path("local:///a") == "/a"
    for wrong in ("file://host/a", "file://", "file://relative"):
        with pytest.raises(InvalidInput, match="expected a whole path on this machine"):
            local_path(wrong)


def test_sources_as_they_may_be_shown() -> None:
    """What a report or a flow's parameters may hold."""
    assert shown_source("https://H/x?token=abc&a=1") == "https://h/x?a=1"
    assert shown_source("https://me:abc@h/x") == "https://***@h/x"
    assert shown_source("s3://bucket/x") == "s3://bucket/x"
    assert shown_source("notes?token=abc") == "notes?token=abc"
