"""The page: one file that runs nothing of a document's, and shows all that the report has."""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from flows.clustering.csv_files import cell
from flows.clustering.files import read_map, read_report
from flows.clustering.links import document_link
from flows.clustering.markup import Markup, element
from flows.clustering.method import Method
from flows.clustering.page import render_page
from flows.clustering.run import Wanted, cluster_collection

HOSTILE = (
    "</script><script>alert('x')</script><img src=x onerror=alert(1)> yeast & dough "
    '" onmouseover="alert(2) <!-- \u202e {{7*7}} javascript:alert(3)'
)


class Reader(HTMLParser):
    """What a browser would see: elements, their attributes, and the text of scripts."""

    def __init__(self):
        super().__init__()
        self.elements = []
        self.scripts = []
        self._in = None

    def handle_starttag(self, tag, attributes):
        """Note it."""
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self._in = (tag, dict(attributes), [])

    def handle_data(self, data):
        """Note it."""
        if self._in is not None:
            self._in[2].append(data)

    def handle_endtag(self, tag):
        """Note it."""
        if self._in is not None and tag == self._in[0]:
            self.scripts.append((tag, self._in[1], "".join(self._in[2])))
            self._in = None


def _read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def _cluster(collection, folder, **method):
    wanted = Wanted(
        method=Method(**method),
        report_folder=folder,
        run_id="run <1>",
        created_at="2025-01-02T03:04:05Z",
    )
    return cluster_collection(collection, wanted)


@pytest.fixture
def hostile(collection_of, tmp_path):
    """The page of a collection whose every text tries to be markup."""
    rows = [(f"evil{n}{HOSTILE}", f"{HOSTILE} number {n}", [1, 0.01 * n]) for n in range(9)]
    rows += [("far", HOSTILE, [-1.0, 1.0])]
    titles = {row[0]: HOSTILE for row in rows}
    _cluster(collection_of(rows, titles=titles), tmp_path, k=1)
    return (tmp_path / "clusters.html").read_text(encoding="utf-8")


def test_hostile_text_is_no_markup(hostile):
    """No element, attribute, script or link is there but ours; what was written is shown."""
    reader = _read(hostile)
    tags = {tag for tag, _ in reader.elements}
    assert "img" not in tags
    assert [tag for tag, _, _ in reader.scripts] == ["style", "script", "script", "script"]
    for _, attributes in reader.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes
        href = attributes.get("href", "#")
        assert href.startswith(("#", "file:///", "https://", "http://"))
        assert "src" not in attributes
    assert "alert(&#x27;x&#x27;)" in hostile
    assert "\u202e" not in hostile


def test_the_policy_allows_this_script_and_style_alone(hostile):
    """Hashes of the very texts; nothing may be fetched."""
    reader = _read(hostile)
    policy = next(a["content"] for t, a in reader.elements if "http-equiv" in a)
    style = next(text for tag, _, text in reader.scripts if tag == "style")
    script = next(text for tag, a, text in reader.scripts if tag == "script" and "type" not in a)
    for text, name in ((style, "style-src"), (script, "script-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://(?!www\.w3)", script + style)


def test_data_of_the_page_reads_back(hostile):
    """Cluster names as JSON that ends no element; the map as packed arrays."""
    reader = _read(hostile)
    data = {a.get("id"): text for tag, a, text in reader.scripts if tag == "script"}
    clusters = json.loads(data["clusters-data"])
    assert [set(one) for one in clusters] == [{"id", "name", "hue", "unstable"}]
    content = json.loads(gzip.decompress(base64.b64decode(data["map-data"])))
    assert content["points"] == 10
    places = np.frombuffer(base64.b64decode(content["places"]), "<u2").reshape(-1, 2)
    labels = np.frombuffer(base64.b64decode(content["labels"]), "<u2")
    documents = np.frombuffer(base64.b64decode(content["documents"]), "<u4")
    assert (len(places), set(labels.tolist()), max(documents)) == (10, {0}, 9)
    assert places.max() == 65535
    assert all(link == "" for link in content["links"])


def test_everything_has_a_name_and_an_aim(collection_of, tmp_path):
    """Links within the page lead somewhere; controls and landmarks are named; ids are unique."""
    rows = [(f"d{n}", f"orbit planet {n}", [1, 0.01 * n]) for n in range(6)]
    rows += [(f"e{n}", f"bread yeast {n}", [0.01 * n, 1]) for n in range(6)]
    _cluster(collection_of(rows), tmp_path, algorithm="bisecting", k=2)
    reader = _read((tmp_path / "clusters.html").read_text(encoding="utf-8"))
    ids = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.elements:
        href = attributes.get("href", "")
        if href.startswith("#"):
            assert href[1:] in ids, href
        if tag in ("canvas", "meter"):
            assert attributes["aria-label"]
        for reference in ("aria-labelledby", "aria-describedby"):
            if reference in attributes:
                assert attributes[reference] in ids
    assert dict(reader.elements)["html"]["lang"] == "en"
    assert {"c-0", "c-1", "tree", "map", "outliers", "method"} <= set(ids)


def test_a_collection_without_clusters_has_a_page(collection_of, tmp_path):
    """All are outliers: it says so, and what to try."""
    rows = [(f"d{n}", "words", row) for n, row in enumerate(np.eye(12).tolist())]
    report = _cluster(collection_of(rows), tmp_path, algorithm="hdbscan")
    assert (report.k, report.outliers) == (0, 12)
    page = (tmp_path / "clusters.html").read_text(encoding="utf-8")
    assert "No group is dense enough" in page
    assert read_report(tmp_path) == report
    assert render_page(report, read_map(tmp_path)) == page


def test_an_element_escapes_all_but_markup():
    """Texts and attributes; a flag stands alone, None is left out."""
    inner = element("b", "<i>")
    assert inner == Markup("<b>&lt;i&gt;</b>")
    found = element("p", [inner, None, 3], title='"<', hidden=True, class_=None)
    assert found == '<p title="&quot;&lt;" hidden><b>&lt;i&gt;</b>3</p>'


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("/notes/a b#1.md", "file:///notes/a%20b%231.md"),
        ("C:\\notes\\a.md", "file:///C:/notes/a.md"),
        ("https://example.org/a?b=1", "https://example.org/a?b=1"),
        ('https://example.org/"><script>', "https://example.org/%22%3E%3Cscript%3E"),
        ("javascript:alert(1)", ""),
        ("JaVaScRiPt:alert(1)", ""),
        ("data:text/html,x", ""),
        ("https:///nowhere", ""),
        ("//example.org/x", "file:////example.org/x"),
        ("python:stdlib", ""),
        ("relative/path.md", ""),
        ("/a\nb", ""),
        ("https://[::1", ""),
    ],
)
def test_only_files_and_pages_are_links(source, address):
    """Whatever else a document's source says is shown, and leads nowhere."""
    assert document_link(source) == address


def test_a_cell_is_no_formula():
    """Spreadsheets run what begins so."""
    assert [cell(text) for text in ("=cmd()", "+1", "-1", "@x", "a=b")] == [
        *("'=cmd()", "'+1", "'-1", "'@x"),
        "a=b",
    ]
