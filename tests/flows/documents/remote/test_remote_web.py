"""Pages, sitemaps and files of addresses against a real server on this machine."""

import gc
import gzip
import logging
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from flows.documents.globs import Selection
from flows.documents.listing import Listing
from flows.documents.remote import guarded_network, sitemaps, web_client
from flows.documents.remote.limits import RemoteLimits
from flows.documents.remote.remote_document import RemoteDocument
from flows.documents.remote.spool import Spool
from flows.documents.sources import discover
from flows.errors import DocumentRejected, InvalidInput, SourceUnavailable

Discover = Callable[..., Listing]


@pytest.fixture
def found(here: RemoteLimits) -> Discover:
    """`discover` with loopback allowed."""

    def discovered(*sources: str, **options: Any) -> Listing:
        return discover(sources, options.pop("selection", Selection()), remote=here, **options)

    return discovered


def only(listing: Listing) -> RemoteDocument:
    (document,) = listing.documents
    assert isinstance(document, RemoteDocument)
    return document


def test_a_page(site: Any, page: Any, found: Discover) -> None:
    """One address, one document, one request for it in a run; asked for as ourselves."""
    when = {"Last-Modified": "Wed, 01 May 2024 10:00:00 GMT", "ETag": '"v1"'}
    site.pages["/guide"] = page(b"<p>Hello", headers={"Content-Type": "text/html", **when})
    listing = found(site.url("/guide"))
    document = only(listing)
    assert document.doc_id == document.source == document.root == site.url("/guide")
    assert (document.format, document.name, document.title) == ("html", "guide", "")
    assert (document.modified, document.version) == ("2024-05-01T10:00:00+00:00", '"v1"')
    assert listing.complete == {site.url("/guide"): True}
    assert document.read() == document.read() == b"<p>Hello"
    assert site.asked() == ["/guide"]
    sent = site.requests[-1][1]
    assert sent["user-agent"].startswith("sextant/")
    assert sent["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer"} & sent.keys()


def test_the_network_is_not_used_unasked(site: Any, tmp_path: Path) -> None:
    """Without leave, one line says what to add, and no connection is made."""
    (tmp_path / "list").write_text(site.url("/"))
    for source in (site.url("/?token=hunter2"), f"urls:{tmp_path}/list", "s3://bucket/x"):
        with pytest.raises(InvalidInput, match="add --allow-network") as caught:
            discover([source])
        assert "hunter2" not in str(caught.value)
    assert site.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::ffff:7f00:1]"])
def test_private_addresses_are_refused(host: str, site: Any) -> None:
    """In whatever way they are written."""
    with pytest.raises(SourceUnavailable, match="add --allow-private-addresses"):
        discover([f"http://{host}:{site.port}/"], remote=RemoteLimits(allow_network=True))
    assert site.requests == []


def test_names_are_checked_where_they_lead(site: Any, names: dict[str, list[str]]) -> None:
    """A name that resolves to this machine, or to it among others, connects to nothing of ours."""
    names["rebound.example"] = ["127.0.0.1"]
    with pytest.raises(SourceUnavailable, match=r"'rebound\.example' is at 127\.0\.0\.1"):
        discover([f"http://rebound.example:{site.port}/"], remote=RemoteLimits(allow_network=True))
    assert site.requests == []


def test_the_checked_address_is_the_one_connected_to(
    site: Any, page: Any, found: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is looked up once for a connection: a second answer would have no check."""
    looked_up: list[object] = []
    system = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        looked_up.append(host)
        target = "127.0.0.1" if host == "name.example" else host
        return system(target, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    site.pages["/"] = page(b"<p>Hi")
    found(f"http://name.example:{site.port}/")
    # once for robots.txt, once for the page; a literal address is looked up without any server
    assert looked_up == ["name.example", "127.0.0.1"] * 2
    assert site.requests[-1][1]["host"] == f"name.example:{site.port}"


def test_private_addresses_among_others_are_passed_over(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the public ones of a name's addresses are tried."""
    tried: list[str] = []

    def connect(backend: object, host: str, *args: object) -> None:
        tried.append(host)
        raise guarded_network.httpcore.ConnectError("refused")

    monkeypatch.setattr(guarded_network.httpcore.SyncBackend, "connect_tcp", connect)
    names["both.example"] = ["10.0.0.1", "8.8.8.8", "127.0.0.1"]
    with pytest.raises(SourceUnavailable, match="no answer: refused"):
        discover(["http://both.example/"], remote=RemoteLimits(allow_network=True))
    assert set(tried) == {"8.8.8.8"}


def test_redirects(site: Any, other_site: Any, page: Any, found: Discover) -> None:
    """Followed, on this site and to others, each by its own `robots.txt`; the id stays."""
    site.pages["/a"] = page(status=301, headers={"Location": "/b"})
    site.pages["/b"] = page(status=307, headers={"Location": other_site.url("/c")})
    other_site.pages["/c"] = page(b"<p>there")
    document = only(found(site.url("/a")))
    assert (document.doc_id, document.read()) == (site.url("/a"), b"<p>there")
    other_site.pages["/robots.txt"] = page(b"User-agent: *\nDisallow: /c")
    with pytest.raises(SourceUnavailable, match=r"robots\.txt of '127.* asks not to fetch it"):
        found(site.url("/a"))


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/loop", "more than 5 redirects"),
        ("ftp://example.org/x", "nothing may be fetched: .*not on the web"),
        ("file:///etc/passwd", "nothing may be fetched: .*not on the web"),
        ("http://me:hunter2@127.0.0.1/", "user name or password"),
        ("http://[bad/?token=hunter2", "has no host that can be one"),
        ("http://h:port/?token=hunter2", "not an address"),
    ],
)
def test_redirects_that_lead_nowhere(
    location: str, message: str, site: Any, page: Any, found: Discover
) -> None:
    """Loops, other schemes, passwords."""
    site.pages["/loop"] = page(status=302, headers={"Location": location})
    with pytest.raises(SourceUnavailable, match=message) as caught:
        found(site.url("/loop"))
    assert "hunter2" not in str(caught.value)
    assert len(site.asked()) <= 6


def test_redirects_to_private_addresses(
    site: Any, other_site: Any, page: Any, names: dict[str, list[str]], monkeypatch: Any
) -> None:
    """A public site must not lead into the private network."""
    names["public.example"] = ["127.0.0.1"]
    real = guarded_network.is_public
    allowed = {"127.0.0.1"}
    monkeypatch.setattr(guarded_network, "is_public", lambda a: a in allowed or real(a))
    names["inner.example"] = ["127.0.0.2"]
    site.pages["/"] = page(
        status=302, headers={"Location": f"http://inner.example:{other_site.port}/admin"}
    )
    with pytest.raises(SourceUnavailable, match=r"'inner\.example' is at 127\.0\.0\.2"):
        discover([f"http://public.example:{site.port}/"], remote=RemoteLimits(allow_network=True))
    assert other_site.requests == []


def test_tls(tls_site: Any, site: Any, page: Any, found: Discover) -> None:
    """The certificate must be the host's, not the address's; and never down to http."""
    tls_site.pages["/"] = page(b"<p>safe")
    assert only(found(tls_site.url("/"))).read() == b"<p>safe"
    tls_site.pages["/down"] = page(status=302, headers={"Location": site.url("/")})
    with pytest.raises(SourceUnavailable, match="redirects from https to 'http://"):
        found(tls_site.url("/down"))
    assert site.requests == []
    with pytest.raises(SourceUnavailable, match="certificate verify failed"):
        found(f"https://127.0.0.1:{tls_site.port}/")


@pytest.mark.parametrize("status", [404, 410, 401, 403, 500, 503, 204, 418, 299])
def test_a_page_that_is_not_there(status: int, site: Any, page: Any, found: Discover) -> None:
    """A source that is one page is then not available; nothing follows for what is stored."""
    site.pages["/x"] = page(b"" if status == 204 else b"error", status)
    with pytest.raises(SourceUnavailable, match=f"answers {status}.*(leave it|run again)"):
        found(site.url("/x"))
    assert len(site.asked()) == (3 if status == 503 else 1)


def test_failures_that_pass(site: Any, page: Any, found: Discover) -> None:
    """Tried again, a few times, as soon as the site asks for."""
    busy = page(b"", 503, {"Retry-After": "0"})
    site.pages["/x"] = [busy, page(b"", 429, {}), page(b"<p>well")]
    assert only(found(site.url("/x"))).read() == b"<p>well"
    site.pages["/x"] = page(b"", 503, {"Retry-After": "86400"})
    site.requests.clear()
    with pytest.raises(SourceUnavailable, match=r"503 Service Unavailable.*asks to wait 86400 s"):
        found(site.url("/x"))
    assert site.asked() == ["/x"]


def test_nobody_there(found: Discover) -> None:
    """A port that nobody listens on, a name that nobody has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(SourceUnavailable, match=r"no answer: .*refused"):
            found(f"http://127.0.0.1:{taken.getsockname()[1]}/")


def _drip(handler: BaseHTTPRequestHandler, part: bytes, stop: threading.Event) -> None:
    try:
        while not stop.wait(0.01):
            handler.wfile.write(part)
    except OSError:
        pass  # the client has gone


@pytest.mark.parametrize("chunked", [True, False])
def test_endless_bodies(chunked: bool, site: Any, page: Any, found: Discover) -> None:
    """Cut off where the limit is, with or without a length."""
    sitemap = site.sitemap("/sitemap.xml", "/endless")
    stop = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.send_header("Connection", "close")
        handler.end_headers()
        block = b"a" * 4096
        _drip(handler, b"1000\r\n" + block + b"\r\n" if chunked else block, stop)

    site.pages["/endless"] = page(raw=endless)
    document = only(found(sitemap))
    with pytest.raises(DocumentRejected, match=r"more than 0\.0 MiB; the limit is"):
        document.read(max_bytes=10_000)
    stop.set()


def test_slow_bodies(
    site: Any, page: Any, found: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site that sends a byte now and then does not hold a run for ever; nor do slow headers."""
    monkeypatch.setattr(web_client, "WHOLE_SECONDS", 0.2)
    stop = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        _drip(handler, b"a", stop)

    def slower(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        _drip(handler, b"a", stop)

    for raw in (slow, slower):
        site.pages["/slow"] = page(raw=raw)
        with pytest.raises(SourceUnavailable, match=r"no answer: (the whole answer|timed out)"):
            found(site.url("/slow"))
    stop.set()


def test_lengths_that_are_wrong(site: Any, page: Any, found: Discover) -> None:
    """An answer that breaks off is none; one that says it is too large is not read at all."""
    html = {"Content-Type": "text/html", "Connection": "close"}
    site.pages["/short"] = page(b"<p>half", headers={**html, "Content-Length": "70000"})
    with pytest.raises(SourceUnavailable, match="no answer: peer closed connection"):
        found(site.url("/short"))
    site.sitemap("/sitemap.xml", "/large")
    site.pages["/large"] = page(b"x", headers={**html, "Content-Length": "99999999999999"})
    with pytest.raises(DocumentRejected, match=r"95367431\.6 MiB; the limit is 20\.0 MiB"):
        only(found(site.url("/sitemap.xml"))).read()


def test_compressed_journeys(site: Any, page: Any, found: Discover) -> None:
    """Taken although unasked, within the limit once decompressed; other codings are not."""
    coded = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    site.pages["/bomb"] = page(gzip.compress(bytes(40 * 1024 * 1024)), headers=coded)
    site.pages["/fine"] = page(gzip.compress(b"<p>fine"), headers=coded)
    site.pages["/notes.md.gz"] = page(gzip.compress(b"# Notes"), headers=coded)
    site.pages["/file.md.gz"] = page(
        gzip.compress(b"# File"), headers={"Content-Type": "application/gzip"}
    )
    site.pages["/odd"] = page(b"x", headers={"Content-Encoding": "br"})
    site.pages["/broken"] = page(b"x", headers=coded)
    names = ("/bomb", "/broken", "/file.md.gz", "/fine", "/notes.md.gz", "/odd")
    listing = found(site.sitemap("/sitemap.xml", *names))
    bomb, broken, file, fine, notes, odd = listing.documents
    with pytest.raises(DocumentRejected, match=r"more than 20\.0 MiB once decompressed"):
        bomb.read()
    with pytest.raises(DocumentRejected, match="cannot be decompressed as gzip"):
        broken.read()
    with pytest.raises(DocumentRejected, match="in the coding 'br', which was not asked for"):
        odd.read()
    assert fine.read() == b"<p>fine"
    assert notes.read() == b"# Notes"  # the server took the file's compression for the journey's
    assert (file.read(), file.format, file.compression) == (b"# File", "markdown", "gzip")


def test_what_is_too_large_is_told_when_it_is_read(
    site: Any, page: Any, found: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page larger than any sitemap is still a page."""
    monkeypatch.setattr("flows.documents.remote.web_listing.SITEMAP_BYTES", 10)
    site.pages["/big.txt"] = page(b"a" * 100, headers={"Content-Type": "text/plain"})
    document = only(found(site.url("/big.txt")))
    assert document.read() == b"a" * 100
    with pytest.raises(DocumentRejected, match="the limit is"):
        document.read(max_bytes=50)


def test_a_sitemap(site: Any, page: Any, found: Discover) -> None:
    """Its pages; what is left out is counted; nothing is fetched but the sitemap."""
    site.sitemap(
        "/sitemap.xml",
        "/",
        "/a.html#part",
        "/a.html",
        "/b.md",
        "/photo.png",
        "/drafts/c",
        "https://elsewhere.example/x",
        "mailto://me",
        "http://me:hunter2@127.0.0.1/",
    )
    listing = found(site.url("/sitemap.xml"), selection=Selection(exclude=("drafts/",)))
    assert [d.doc_id for d in listing.documents] == [site.url(p) for p in ("/", "/a.html", "/b.md")]
    assert [d.format for d in listing.documents] == ["html", "html", "markdown"]
    assert {d.root for d in listing.documents} == {site.url("/sitemap.xml")}
    assert listing.ignored == {
        ".png": 1,
        "duplicate": 1,
        "excluded": 1,
        "no web address": 2,
        "other host": 1,
    }
    assert listing.complete == {site.url("/sitemap.xml"): True}
    assert site.asked() == ["/sitemap.xml"]
    assert listing.documents[0].name == "127.0.0.1"


def test_dates_of_a_sitemap(site: Any, page: Any, found: Discover) -> None:
    """What it says of a page's last change, before the page is asked."""
    site.pages["/s.xml"] = page(
        f"<urlset><url><loc> {site.url('/a')}\n</loc><lastmod>2024-05-01</lastmod></url>"
        "<url></url></urlset>".encode()
    )
    site.pages["/s.xml"].headers = {"Content-Type": "text/xml"}
    listing = found(site.url("/s.xml"))
    assert only(listing).modified == "2024-05-01T00:00:00+00:00"
    assert listing.ignored == {"no web address": 1}


def test_an_index_of_gzipped_sitemaps(site: Any, page: Any, found: Discover) -> None:
    """Followed on its own host; a sitemap that names itself or its like is read once."""
    site.sitemap("/one.xml", "/a")
    zipped = gzip.compress(site.pages["/one.xml"].body)
    site.pages["/one.xml.gz"] = page(zipped, headers={"Content-Type": "application/x-gzip"})
    names = ("/one.xml.gz", "/index.xml", "/one.xml.gz", "https://elsewhere.example/s.xml")
    index = site.sitemap("/index.xml", *names, kind="sitemapindex")
    listing = found(index)
    assert only(listing).doc_id == site.url("/a")
    assert listing.ignored == {"other host": 1}
    assert site.asked() == ["/index.xml", "/one.xml.gz"]


def test_an_address_that_answers_with_a_sitemap(site: Any, page: Any, found: Discover) -> None:
    """Whatever it is called; while a page that shows one is a page."""
    site.sitemap("/pages", "/a", "/b")
    assert len(found(site.url("/pages")).documents) == 2
    shown = b"<!doctype html><pre><urlset><url></pre>"
    site.pages["/about"] = page(shown)
    assert only(found(site.url("/about"))).read() == shown
    site.pages["/about.md"] = page(b"```\n<urlset>\n```", headers={"Content-Type": "text/xml"})
    assert only(found(site.url("/about.md"))).format == "markdown"


def test_part_of_an_index_fails(site: Any, page: Any, found: Discover) -> None:
    """The pages of the others are listed, and nothing may be concluded from what is missing."""
    site.sitemap("/good.xml", "/a")
    site.pages["/bad.xml"] = page(b"", 503, {})
    site.pages["/rss.xml"] = page(b"<rss/>", headers={"Content-Type": "text/xml"})
    index = site.sitemap(
        "/index.xml", "/bad.xml", "/good.xml", "/gone.xml", "/rss.xml", kind="sitemapindex"
    )
    listing = found(index)
    assert only(listing).doc_id == site.url("/a")
    assert [(u.path, u.reason.split(":")[0]) for u in listing.unreadable] == [
        (site.url("/bad.xml"), "answers 503 Service Unavailable"),
        (site.url("/gone.xml"), "answers 404 Not Found"),
        (site.url("/rss.xml"), "XML, but no sitemap; expected urlset or sitemapindex"),
    ]
    assert listing.complete == {index: False}


def test_an_empty_sitemap_concludes_nothing(site: Any, page: Any, found: Discover) -> None:
    """A site that lists nothing today has not removed everything."""
    listing = found(site.sitemap("/sitemap.xml"))
    assert (listing.documents, listing.complete) == ((), {site.url("/sitemap.xml"): False})


LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE urlset [<!ENTITY a "ha">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<urlset><url><loc>https://example.org/&c;</loc></url></urlset>"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (LAUGHS, "declares XML entities"),
        (b'<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/passwd">]><urlset>&x;</urlset>', "entities"),
        (b"<urlset><url>", "is not XML that may be read"),
        (b"not xml", "is not XML that may be read"),
        (b"<rss/>", "no sitemap; expected urlset or sitemapindex"),
        (b"", "is not XML that may be read"),
        (b"\x1f\x8bnot gzip", "cannot be decompressed as gzip"),
        (gzip.compress(bytes(20 * 1024 * 1024)), "once decompressed"),
        (b"<a>" * 300 + b"</a>" * 300, "is not XML that may be read"),
    ],
)
def test_hostile_sitemaps(body: bytes, message: str, site: Any, page: Any, found: Discover) -> None:
    """Told in one line; nothing of it is taken."""
    site.pages["/s.xml"] = page(body, headers={"Content-Type": "application/xml"})
    with pytest.raises(SourceUnavailable, match=message):
        found(site.url("/s.xml"))


def test_sitemaps_nested_too_deeply_and_too_many(
    site: Any, found: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three levels, and so many sitemaps."""
    for level in range(1, 5):
        site.sitemap(f"/{level}.xml", f"/{level + 1}.xml", kind="sitemapindex")
    listing = found(site.url("/1.xml"))
    assert [u.path for u in listing.unreadable] == [site.url("/4.xml")]
    assert "more than 3 levels deep" in listing.unreadable[0].reason
    monkeypatch.setattr("flows.documents.remote.web_listing.MAX_SITEMAPS", 2)
    with pytest.raises(InvalidInput, match="more than 2 sitemaps"):
        found(site.url("/1.xml"))
    assert sitemaps.MAX_DEPTH == 3


def test_too_many_pages(site: Any, tmp_path: Path) -> None:
    """One line before any of them is fetched; what the globs leave out does not count."""
    names = [f"/{number}" for number in range(4)]
    sitemap = site.sitemap("/sitemap.xml", *names)
    (tmp_path / "list").write_text("\n".join(site.url(name) for name in names))
    limits = RemoteLimits(allow_network=True, allow_private_addresses=True, max_urls=3)
    for source in (sitemap, f"urls:{tmp_path / 'list'}"):
        with pytest.raises(InvalidInput, match=r"more than 3 pages.*\(max_urls\)"):
            discover([source], remote=limits)
        listing = discover([source], Selection(exclude=("/0",)), remote=limits)
        assert len(listing.documents) == 3
    assert site.asked() == ["/sitemap.xml"] * 2


def test_a_site_behind_a_redirect(site: Any, other_site: Any, page: Any, found: Discover) -> None:
    """`example.org` that has become `www.example.org`: the pages of both hosts are its own."""
    there = other_site.sitemap("/sitemap.xml", "/a", site.url("/b"))
    site.pages["/sitemap.xml"] = page(status=301, headers={"Location": there})
    listing = found(site.url("/sitemap.xml"))
    assert {d.doc_id for d in listing.documents} == {other_site.url("/a"), site.url("/b")}
    assert {d.root for d in listing.documents} == {site.url("/sitemap.xml")}


def test_pages_that_have_gone(site: Any, page: Any, found: Discover) -> None:
    """A page that a sitemap lists and that is not there is rejected alone, and stays listed."""
    listing = found(site.sitemap("/sitemap.xml", "/gone", "/here", "/picture"))
    site.pages["/here"] = page(b"<p>here")
    site.pages["/picture"] = page(b"\x89PNG", headers={"Content-Type": "image/png"})
    gone, here, picture = listing.documents
    with pytest.raises(DocumentRejected, match="answers 404 Not Found: it is not there"):
        gone.read()
    with pytest.raises(DocumentRejected, match="answers with 'image/png', which no parser takes"):
        picture.read()
    assert here.read() == b"<p>here"
    assert listing.complete == {site.url("/sitemap.xml"): True}


def test_robots(site: Any, page: Any, found: Discover) -> None:
    """Read once a run, and kept to; what it forbids is rejected and not fetched."""
    site.pages["/robots.txt"] = page(b"User-agent: *\nAllow: /\nDisallow: /private")
    listing = found(site.sitemap("/sitemap.xml", "/private/a", "/public"))
    site.pages["/public"] = page(b"<p>all")
    private, public = listing.documents
    with pytest.raises(DocumentRejected, match=r"robots\.txt of '127.*asks not to fetch it"):
        private.read()
    assert public.read() == b"<p>all"
    assert [path for path, _ in site.requests] == ["/robots.txt", "/sitemap.xml", "/public"]


def test_robots_out_of_reach(site: Any, page: Any, found: Discover) -> None:
    """RFC 9309: a site that fails to say what it forbids forbids all; without rules, nothing."""
    site.pages["/"] = page(b"<p>x")
    site.pages["/robots.txt"] = page(b"", 500)
    with pytest.raises(SourceUnavailable, match=r"cannot be had \(answers 500.*RFC 9309"):
        found(site.url("/"))
    assert site.asked() == []
    site.pages["/robots.txt"] = page(b"", 403)
    assert only(found(site.url("/"))).read() == b"<p>x"


def test_large_robots_are_read_in_part(site: Any, page: Any, found: Discover) -> None:
    """What stands in the first half MiB counts."""
    rules = b"User-agent: *\nDisallow: /a\n" + b"#" * 600_000 + b"\nDisallow: /"
    site.pages["/robots.txt"] = page(rules)
    site.pages["/b"] = page(b"<p>b")
    assert only(found(site.url("/b"))).read() == b"<p>b"
    with pytest.raises(SourceUnavailable, match="asks not to fetch it"):
        found(site.url("/a"))


def test_politeness(site: Any, page: Any, found: Discover, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to one site keep a distance; a longer one where it is asked for."""
    slept: list[float] = []
    clock = [100.0]

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        clock[0] += seconds

    monkeypatch.setattr(web_client, "POLITE_SECONDS", 0.5)
    monkeypatch.setattr(web_client.time, "sleep", sleep)
    monkeypatch.setattr(web_client.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(guarded_network.time, "monotonic", lambda: clock[0])
    for name in "ab":
        site.pages[f"/{name}"] = page(b"<p>x")
    site.pages["/robots.txt"] = page(b"User-agent: *\nCrawl-delay: 2")
    for document in found(site.sitemap("/s.xml", "/a", "/b")).documents:
        document.read()
    assert slept == [0.5, 2.0, 2.0]  # after robots.txt, the sitemap, and the first page


def test_secrets_are_used_and_kept_nowhere(
    site: Any, page: Any, found: Discover, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Fetched with; not in ids, sources, representations, errors, logs, or names of files."""
    caplog.set_level(logging.DEBUG)
    site.pages["/a?x=1&token=hunter2"] = page(
        status=302, headers={"Location": "/b?X-Amz-Signature=hunter2"}
    )
    site.pages["/b?X-Amz-Signature=hunter2"] = page(b"<p>secret page")
    listing = found(site.url("/a?x=1&token=hunter2"))
    document = only(listing)
    assert document.source == document.doc_id == document.root == site.url("/a?x=1")
    assert document.read() == b"<p>secret page"
    sitemap = site.sitemap("/s.xml", "/c?key=hunter2", "/c?key=hunter3", "/d?sig=hunter2")
    listing = found(sitemap)
    assert [u.path for u in listing.unreadable] == [site.url("/c")]
    assert "cannot be told apart" in listing.unreadable[0].reason
    rejected = ""
    for one in listing.documents:
        with pytest.raises(DocumentRejected) as caught:
            one.read()
        rejected += str(caught.value)
    assert "/c?key=hunter2" in site.asked()
    folder = document.spool._folder
    assert folder is not None
    said = repr((listing, document, list(folder.iterdir()))) + caplog.text + rejected
    assert "hunter" not in said
    assert folder.stat().st_mode & 0o077 == 0


def test_two_sources_that_differ_in_secrets_only(site: Any, page: Any, found: Discover) -> None:
    """Refused, for one would silently take the other's place; the same twice is one."""
    for key in "12":
        site.pages[f"/?key={key}"] = page(b"<p>x")
    with pytest.raises(InvalidInput, match="given twice, with other parameters") as caught:
        found(site.url("/?key=1"), site.url("/?key=2"))
    assert "key=" not in str(caught.value)
    assert len(found(site.url("/?key=1"), site.url("/?key=1")).documents) == 1


def test_a_page_in_two_sources(site: Any, page: Any, found: Discover) -> None:
    """As with folders: one of them must do."""
    site.pages["/a"] = page(b"<p>x")
    with pytest.raises(InvalidInput, match="lies in two sources"):
        found(site.url("/a"), site.sitemap("/s.xml", "/a"))


def test_formats_are_settled_by_reading(site: Any, page: Any, found: Discover) -> None:
    """What the address does not say, the answer does."""
    answers = {
        "/a": ("application/pdf", b"%PDF-1.4"),
        "/b": ("text/plain; charset=utf-8", b"plain"),
        "/c.js": ("text/html", b"<p>about c.js"),
        "/d.md": ("text/plain", b"# D"),
        "/e": ("text/html; charset=iso-8859-1", "<p>café".encode("latin-1")),
        "/f": ("text/html; charset=utf-8", b'<meta charset="latin-1">caf\xe9'),
    }
    for path, (kind, body) in answers.items():
        site.pages[path] = page(body, headers={"Content-Type": kind})
    documents = found(site.sitemap("/s.xml", *answers)).documents
    assert [d.format for d in documents] == ["html", "html", "code", "markdown", "html", "html"]
    bodies = [d.read() for d in documents]
    settled = [d.settled() for d in documents if isinstance(d, RemoteDocument)]
    formats = ["pdf", "text", "html", "markdown", "html", "html"]
    assert [d.format for d in settled] == formats
    assert [d.settled().format for d in settled] == formats
    assert [d.read() for d in settled] == bodies
    assert bodies[4] == "<p>café".encode()  # only the answer said in which character set it was
    assert bodies[5] == answers["/f"][1]


def test_versions(site: Any, page: Any, found: Discover) -> None:
    """A page of a known version is asked for once and not sent; a changed one is sent at once."""
    html = {"Content-Type": "text/html"}
    site.pages["/a"] = page(b"<p>one", headers={**html, "ETag": '"1"'})
    sitemap = site.sitemap("/s.xml", "/a")
    first = only(found(sitemap))
    assert not first.is_still("")
    first.read()
    assert first.settled().version == '"1"'

    site.requests.clear()
    second = only(found(sitemap))
    assert second.is_still('"1"')
    assert site.requests[-1][1]["if-none-match"] == '"1"'
    assert site.asked() == ["/s.xml", "/a"]

    site.requests.clear()
    site.pages["/a"] = page(b"<p>two", headers={**html, "ETag": '"2"'})
    third = only(found(sitemap))
    assert not third.is_still('"1"')
    assert third.read() == b"<p>two"
    assert third.settled().version == '"2"'
    assert site.asked() == ["/s.xml", "/a"]

    site.pages["/a"] = page(b"<p>three", headers={**html, "ETag": 'W/"3"'})
    fourth = only(found(sitemap))
    fourth.read()
    assert fourth.settled().version == ""
    site.pages["/a"] = page(b"", 500)
    with pytest.raises(DocumentRejected, match="answers 500"):
        only(found(sitemap)).is_still('"1"')


def test_a_server_that_ignores_versions(site: Any, page: Any, found: Discover) -> None:
    """It sends the page again, whose version says that it is still the same."""
    headers = {"Content-Type": "text/html", "ETag": '"1"'}
    site.pages["/a"] = page(b"<p>one", headers=headers, honours_etag=False)
    document = only(found(site.sitemap("/s.xml", "/a")))
    assert document.is_still('"1"')
    assert document.read() == b"<p>one"
    assert site.asked() == ["/s.xml", "/a"]


def test_the_spool(site: Any, page: Any, found: Discover, monkeypatch: Any) -> None:
    """Bounded: what finds no room is fetched again, and must then be the same version."""
    init = Spool.__init__
    monkeypatch.setattr(Spool, "__init__", lambda self: init(self, max_bytes=10))
    for name, version in (("a", "1"), ("b", "2")):
        headers = {"Content-Type": "text/html", "ETag": f'"{version}"'}
        site.pages[f"/{name}"] = page(b"<p>" + name.encode() * 4, headers=headers)
    a, b = found(site.sitemap("/s.xml", "/a", "/b")).documents
    for _ in range(2):
        assert (a.read(), b.read()) == (b"<p>aaaa", b"<p>bbbb")
    assert site.asked() == ["/s.xml", "/a", "/b", "/b"]
    site.pages["/b"].headers = {"Content-Type": "text/html", "ETag": '"3"'}
    with pytest.raises(DocumentRejected, match="changed while the run went on; run again"):
        b.read()


def test_the_spool_leaves_nothing(site: Any, page: Any, found: Discover) -> None:
    """Its folder goes with the run's documents; one that somebody removed is no error."""
    site.pages["/a"] = page(b"<p>a")
    document = only(found(site.url("/a")))
    folder = document.spool._folder
    assert folder is not None
    for file in folder.iterdir():
        file.unlink()
    assert document.read() == b"<p>a"
    assert site.asked() == ["/a", "/a"]
    del document
    gc.collect()
    assert not folder.exists()


def test_a_file_of_addresses(site: Any, page: Any, found: Discover, tmp_path: Path) -> None:
    """One a line, with comments; nothing is fetched to list it."""
    file = tmp_path / "pages.txt"
    a, b = site.url("/a"), site.url("/b")
    file.write_bytes(f"\ufeff# pages\n\n  {a}\r\n{b} # why\n{a}\n".encode())
    listing = found(f"urls:{file}")
    assert [d.doc_id for d in listing.documents] == [site.url("/a"), site.url("/b")]
    assert {d.root for d in listing.documents} == {f"urls:{file}"}
    assert listing.ignored == {"duplicate": 1}
    assert listing.complete == {f"urls:{file}": True}
    assert site.requests == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"https://h/a https://h/b", "line 1: expected one address a line"),
        (b"#\nnotes.md", "line 2: address 'notes.md': not on the web"),
        (b"https://me:hunter2@h/", "line 1: .*user name or password"),
        (b"\xff", "not UTF-8"),
        (None, "no such file"),
    ],
)
def test_bad_files_of_addresses(
    content: bytes | None, message: str, found: Discover, tmp_path: Path
) -> None:
    """The file, the line and the remedy; never a secret."""
    file = tmp_path / "list"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput, match=message) as caught:
        found(f"urls:{file}")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidInput, match="names no file"):
        found("urls:")
    with pytest.raises(InvalidInput, match=r"is a folder|not a regular file"):
        found(f"urls:{tmp_path}")


def test_an_empty_file_of_addresses_concludes_nothing(found: Discover, tmp_path: Path) -> None:
    """As an empty folder."""
    (tmp_path / "list").write_text("# nothing\n")
    assert found(f"urls:{tmp_path / 'list'}").complete == {f"urls:{tmp_path / 'list'}": False}


def test_sources_that_no_parser_takes(site: Any, page: Any, found: Discover) -> None:
    """By the address, before it is fetched; or by the answer."""
    with pytest.raises(InvalidInput, match=r"no parser for '\.png' files"):
        found(site.url("/photo.png"))
    assert site.requests == []
    site.pages["/photo"] = page(b"x", headers={"Content-Type": "image/png"})
    with pytest.raises(InvalidInput, match="answers with 'image/png', which no parser takes"):
        found(site.url("/photo"))


def test_proxies_of_the_environment_are_not_used(
    site: Any, page: Any, found: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind one, nobody could check what is connected to."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    site.pages["/a"] = page(b"<p>a")
    assert only(found(site.url("/a"))).read() == b"<p>a"
