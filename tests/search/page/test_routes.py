"""The page's files: which are served, under which headers, and what is in them."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import search.page
from search.filters import FILTERABLE
from search.page.routes import HEADERS, add_page, page_files

FOLDER = Path(search.page.__file__).parent
INDEX = (FOLDER / "index.html").read_text(encoding="utf-8")
NAMES = sorted(set(page_files()) - {"index.html"})


@pytest.fixture(scope="module")
def client() -> TestClient:
    """Talks to an app that has the page alone."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    add_page(app)
    return TestClient(app, follow_redirects=False)


class Reader(HTMLParser):
    """Notes elements with their attributes, and what stands in scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.elements.append((tag, dict(attrs)))
        self._in = tag

    def handle_endtag(self, tag: str) -> None:
        """Note it."""
        self._in = ""

    def handle_data(self, data: str) -> None:
        """Note what is written between tags of a script or a style."""
        if self._in in ("script", "style") and data.strip():
            self.inline.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_is_served_at_the_root(client: TestClient) -> None:
    """As HTML, whole."""
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text == INDEX


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_served_as_what_it_is(client: TestClient, name: str) -> None:
    """A browser that may not guess runs a script only if it is called one."""
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == kinds[Path(name).suffix]
    assert answer.content == (FOLDER / name).read_bytes()


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in NAMES)])
def test_every_answer_has_the_headers(client: TestClient, path: str) -> None:
    """Also the answer that says a file has not changed."""
    first = client.get(path)
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    for answer in (first, again):
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


def test_the_policy_allows_no_inline_code_and_nothing_from_elsewhere(client: TestClient) -> None:
    """Everything is refused that is not named; nothing may embed the page or be posted to."""
    policy = dict(
        part.strip().split(" ", 1)
        for part in client.get("/").headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def test_a_file_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    """By its ETag, alone, in a list, or weak as proxies make it."""
    etag = client.get("/page/page.js").headers["etag"]
    for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = client.get("/page/page.js", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    assert client.get("/page/page.js", headers={"If-None-Match": '"other"'}).status_code == 200


def test_etags_tell_files_apart(client: TestClient) -> None:
    """One for each content."""
    tags = [file.etag for file in page_files().values()]
    assert len(set(tags)) == len(tags)
    assert all(re.fullmatch(r'"[0-9a-f]{32}"', tag) for tag in tags)


def test_head_is_answered_without_a_body(client: TestClient) -> None:
    """With the length that GET has."""
    answer = client.head("/")
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) == len(INDEX.encode())


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/none.js",
        "/page/index.html",
        "/page/routes.py",
        "/page/__init__.py",
        "/page/PAGE.JS",
        "/page/page.js/",
        "/page/../page.js",
        "/page/%2e%2e/routes.py",
        "/page/..%2froutes.py",
        "/page/..%5croutes.py",
        "/page/%2fetc%2fpasswd",
        "/page//etc/passwd",
        "/page/page.js%00.svg",
        "/page/" + "a" * 5000,
    ],
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    """No source, no file of the machine, no other spelling of a name."""
    assert client.get(path).status_code in (404, 307)
    assert client.get(path, follow_redirects=True).status_code in (
        (200,) if path == "/page/page.js/" else (404,)
    )


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_files_are_only_read(client: TestClient, method: str, path: str) -> None:
    """Another method is refused."""
    assert client.request(method, path).status_code == 405


def test_the_page_is_no_part_of_the_described_api() -> None:
    """OpenAPI describes what programs call."""
    app = FastAPI()
    add_page(app)
    assert app.openapi()["paths"] == {}


def test_the_page_has_no_inline_script_style_or_handler() -> None:
    """The policy would refuse them, so that the page would be broken, not unsafe."""
    reader = read(INDEX)
    assert reader.inline == []
    for tag, attributes in reader.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "style" not in attributes, tag


def test_the_page_fetches_only_what_is_served() -> None:
    """No address of another site, and none that begins at the root: a proxy may add a folder."""
    reader = read(INDEX)
    fetched = [
        attributes.get("src") or attributes.get("href") or ""
        for tag, attributes in reader.elements
        if tag in ("script", "link", "img")
    ]
    assert fetched
    assert {name.removeprefix("page/") for name in fetched} <= set(NAMES)
    for name in NAMES:
        text = (FOLDER / name).read_text(encoding="utf-8")
        without_name_of_svg = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://\w", without_name_of_svg), name


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".js")])
def test_imports_are_served_and_no_text_becomes_markup(name: str) -> None:
    """Every import names a file of the page; none of the ways from text to markup or code."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    for imported in re.findall(r'from "([^"]+)"', text):
        assert imported.removeprefix("./") in NAMES
    forbidden = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "createContextualFragment",
        "eval(",
        "new Function",
        "setTimeout",
        "console.",
    )
    assert [word for word in forbidden if word in text] == []


def test_the_files_come_with_the_package() -> None:
    """What the page needs is named in the package's data."""
    import tomllib

    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["search.page"]
    for name in page_files():
        assert any(Path(name).match(pattern) for pattern in patterns), name


def test_every_element_that_scripts_ask_for_is_there() -> None:
    """Ids of the page, or of what scripts make themselves."""
    ids = {attributes["id"] for _, attributes in read(INDEX).elements if "id" in attributes}
    scripts = "\n".join(
        (FOLDER / name).read_text(encoding="utf-8") for name in NAMES if name.endswith(".js")
    )
    asked = set(re.findall(r'(?:byId|getElementById)\("([\w-]+)"\)', scripts))
    assert asked
    assert asked <= ids
    assert len(ids) == len(re.findall(r'\bid="', INDEX)), "an id is there twice"


def test_the_page_knows_the_fields_that_every_collection_has() -> None:
    """By the names and types that filters know; of no other field it claims to."""
    text = (FOLDER / "fields.js").read_text(encoding="utf-8")
    block = re.search(r"const STANDARD = \{(.*?)\};", text, re.DOTALL)
    further = re.search(r"const FURTHER = \[(.*?)\];", text)
    assert block is not None
    assert further is not None
    known = dict(re.findall(r'(\w+): "(\w+)"', block[1]))
    assert known.pop("text") == "text"
    rest = re.findall(r'"(\w+)"', further[1])
    assert {**known, **{name: FILTERABLE[name] for name in rest}} == FILTERABLE
