"""What vanishes from a remote source is removed; a source that is out of reach removes nothing."""

from typing import Any

import pytest

from flows.documents.remote.limits import RemoteLimits
from flows.documents.sources import discover
from flows.errors import SourceUnavailable
from flows.heads import Head
from flows.removals import vanished


def stored(site: Any, root: str, *paths: str) -> dict[str, Head]:
    """Heads as an earlier run has left them."""
    return {
        site.url(path): Head(
            doc_id=site.url(path),
            source=site.url(path),
            root=site.url(root),
            title="",
            format="html",
            content_hash="x",
            recipe="x",
            state="stored",
            chunks=1,
            tokens=1,
            size=1,
            ingested_at="",
            run_id="",
        )
        for path in paths
    }


def test_a_page_that_left_its_sitemap(site: Any, here: RemoteLimits) -> None:
    """It is gone, while one that is listed and does not answer stays."""
    heads = stored(site, "/s.xml", "/left", "/kept")
    listing = discover([site.sitemap("/s.xml", "/kept", "/new")], remote=here)
    gone, warnings = vanished(listing, heads)
    assert [head.doc_id for head in gone] == [site.url("/left")]
    assert warnings == []


def test_nothing_follows_from_what_was_not_seen(site: Any, page: Any, here: RemoteLimits) -> None:
    """An empty sitemap, an index in part, a site that fails: nothing is removed."""
    heads = stored(site, "/s.xml", "/a", "/b")
    empty = discover([site.sitemap("/s.xml")], remote=here)
    site.sitemap("/one.xml", "/a")
    index = site.sitemap("/s.xml", "/one.xml", "/gone.xml", kind="sitemapindex")
    partial = discover([index], remote=here)
    for listing in (empty, partial):
        gone, warnings = vanished(listing, heads)
        assert gone == []
        assert len(warnings) == 1
    for status in (404, 410, 500, 503):
        site.pages["/s.xml"] = page(b"", status)
        with pytest.raises(SourceUnavailable):
            discover([site.url("/s.xml")], remote=here)
