"""The page in Chromium: searching, keys, the address, failures, hostile documents, accessibility.

The API's answers are canned. Every test ends by looking at the browser's log: a violation of the
page's policy, or an error of its scripts, stands there.
"""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI

from search.page.routes import add_page
from tests.search.page.conftest import HOSTILE, TEXT

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

pytestmark = pytest.mark.timeout(120)

PATIENCE_SECONDS = 20
HITS = "#hits .hit"


class Page:
    """The open page, as a person has it."""

    def __init__(self, driver: "Chrome", url: str) -> None:
        """Nothing is opened yet."""
        self.driver = driver
        self.url = url

    def open(self, address: str = "/") -> None:
        """Load an address, and wait until the page has heard of the collections."""
        self.driver.get(self.url + address)
        self.driver.execute_script("return document.readyState")

    def one(self, selector: str) -> "WebElement":
        """The first element that matches."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list["WebElement"]:
        """Every element that matches."""
        return self.driver.find_elements("css selector", selector)

    def until(self, told: Callable[[], Any], what: str) -> Any:
        """Wait for something to be so."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.wait import WebDriverWait

        wait = WebDriverWait(
            self.driver,
            PATIENCE_SECONDS,
            poll_frequency=0.02,
            ignored_exceptions=[StaleElementReferenceException],
        )
        return wait.until(lambda _: told(), what)

    def see(self, selector: str) -> "WebElement":
        """Wait until an element is to be seen."""
        found: WebElement = self.until(
            lambda: next((one for one in self.all(selector) if one.is_displayed()), None),
            f"{selector} is not to be seen",
        )
        return found

    def click(self, selector: str) -> None:
        """Click what may lie far up or down, and may be drawn anew while it is looked for."""

        def clicked() -> bool:
            target = self.see(selector)
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
            target.click()
            return True

        self.until(clicked, f"{selector} cannot be clicked")

    def gone(self, selector: str) -> None:
        """Wait until no such element is to be seen."""
        self.until(
            lambda: not any(one.is_displayed() for one in self.all(selector)),
            f"{selector} is still there",
        )

    def hits(self, count: int) -> list["WebElement"]:
        """Wait for so many hits of the last search: while it is answered, the old ones stand."""
        found: list[WebElement] = self.until(
            lambda: self.all("#results[aria-busy=false]") and self._drawn(count),
            f"not {count} hits",
        )
        return found

    def _drawn(self, count: int) -> list["WebElement"] | None:
        hits = self.all(HITS)
        return hits if len(hits) == count and all(one.is_displayed() for one in hits) else None

    def titles(self) -> list[str]:
        """Of the hits."""
        return [one.text for one in self.all(f"{HITS} h2")]

    def type(self, *keys: str) -> None:
        """Keys, to what has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def search(self, query: str) -> None:
        """Type a query and press Enter."""
        from selenium.webdriver import Keys

        box = self.one("#query")
        box.clear()
        box.send_keys(query, Keys.ENTER)

    def focused(self) -> str:
        """The id of what has the focus."""
        found: str = self.driver.execute_script("return document.activeElement.id")
        return found

    def query(self) -> str:
        """What stands in the box."""
        return self.one("#query").get_property("value") or ""

    def address(self) -> str:
        """What stands after the host."""
        return self.driver.current_url.removeprefix(self.url)

    def errors(self) -> list[str]:
        """What scripts and the policy complain of; answers that are no 200 are no error of ours."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["source"] != "network" and entry["level"] in ("SEVERE", "WARNING")
        ]


@pytest.fixture
def page(chromium: "Chrome", fake: Any, serve: Callable[[FastAPI], str]) -> Iterator[Page]:
    """A page of its own origin, not opened yet."""
    chromium.get("about:blank")
    chromium.set_window_size(1280, 900)
    chromium.get_log("browser")
    opened = Page(chromium, serve(fake.app()))
    yield opened
    if fake.hold is not None:
        fake.hold.set()
    errors = opened.errors()
    chromium.get("about:blank")
    assert errors == []


def test_a_search_from_the_box_to_the_hits(page: Page, fake: Any) -> None:
    """The box has the focus; Enter searches; a hit tells where it stands and what answers."""
    page.open()
    assert page.focused() == "query"
    page.type("trimming lamps", "\ue007")
    first = page.hits(10)[0]
    assert fake.of("search") == [{"query": "trimming lamps", "limit": 10, "by_document": True}]
    assert first.find_element("css selector", "h2").text == "Lamps, part 1"
    assert first.find_element("css selector", ".source").text == "/home/notes/lamp 1.md"
    headings = first.find_elements("css selector", ".path li")
    assert [one.text for one in headings] == ["Lighthouses", "Lamps"]
    assert "nearer than 97 % of chance" in first.text
    assert "Lights at sea" in first.text
    assert page.one("#status").text == "10 documents, and there are more"
    assert page.one("#timings summary").text == "13 ms"
    assert page.driver.title == "trimming lamps · Sextant"


def test_the_evidence_and_the_words_are_marked_exactly(page: Page) -> None:
    """Offsets count characters, also behind an emoji, which is two of the browser's units."""
    page.open("/?q=lamps")
    first = page.hits(10)[0]
    evidence = first.find_elements("css selector", ".passage mark")
    assert [one.text for one in evidence] == ["The lamp of a lighthouse is trimmed at dusk."]
    terms = first.find_elements("css selector", ".passage .term")
    assert [one.text for one in terms] == ["lamp", "lighthouse"]
    assert first.find_element("css selector", ".passage").text.startswith("\U0001f9ed A sextant")


def test_a_long_passage_is_cut_around_its_evidence(page: Page, fake: Any) -> None:
    """No character is halved, and the whole of it is one click away."""
    text = "\U0001f9ed " * 600 + "The answer stands here. " + "sea " * 600
    start = text.index("The answer")
    fake.hits[0] |= {
        "text": text,
        "evidence": {"start": start, "end": start + 23, "score": 1.0},
        "marks": [],
    }
    page.open("/?q=answer")
    first = page.hits(10)[0]
    passage = first.find_element("css selector", ".passage")
    assert passage.find_element("css selector", "mark").text == "The answer stands here."
    assert passage.text.startswith("…") and passage.text.endswith("…")
    assert len(passage.text) < 600
    assert "\ufffd" not in passage.text
    first.find_element("css selector", "[aria-expanded]").click()
    page.until(lambda: len(passage.text) > 3000, "the passage is not whole")
    assert first.find_element("css selector", "[aria-expanded]").text == "Less"


def test_a_heading_that_stands_over_the_passage_is_not_shown_again(page: Page, fake: Any) -> None:
    """Of Markdown; one that answers itself is shown."""
    text = "## Lamps\n\nTrim the lamp."
    for place, start in ((0, 10), (1, 3)):
        evidence = {"start": start, "end": len(text), "score": 1.0}
        fake.hits[place] |= {"text": text, "evidence": evidence, "marks": []}
    page.open("/?q=lamps")
    page.hits(10)
    shown = [one.text for one in page.all(f"{HITS} .passage")[:2]]
    assert shown == ["Trim the lamp.", "## Lamps Trim the lamp."]
    assert page.all("#hit-1 .plain") == []


def test_the_name_leads_home(page: Page, fake: Any) -> None:
    """Away from query, filters and a collection that is not there."""
    fake.problems = {"search": (404, "Unknown collection", "no collection 'x'")}
    page.open("/?q=lamps&filter=year%3D1&collection=x&chunks=1")
    page.see(".failure")
    page.see(".pick")
    page.click("#brand")
    page.see(".state.start")
    assert (page.address(), page.focused()) == ("/", "query")


def test_further_hits_come_under_those_that_are_there(page: Page, fake: Any) -> None:
    """By the cursor of the page before; the focus goes to the first new one."""
    page.open("/?q=lamps")
    page.hits(10)
    page.click("#more")
    page.hits(20)
    assert fake.of("search")[1]["cursor"] == "10"
    page.until(lambda: page.focused() == "hit-11", "the new hit has not the focus")
    page.click("#more")
    page.hits(25)
    page.gone("#more")
    assert page.one("#status").text == "25 documents"
    assert page.titles() == [f"Lamps, part {rank}" for rank in range(1, 26)]


def test_keys_go_through_the_hits(page: Page) -> None:
    """j, k and arrows move, Enter opens, Escape comes back to where one was."""
    page.open("/?q=lamps")
    page.hits(10)
    page.type("\ue015")  # arrow down, from the box
    assert page.focused() == "hit-1"
    page.type("j", "j", "k", "\ue015")
    assert page.focused() == "hit-3"
    page.type("\ue013")
    assert page.focused() == "hit-2"
    page.type("\ue007")
    page.see(".found")
    assert page.address().startswith("/?q=lamps#/document/notes%2Flamp%202.md?start=2000&end=")
    page.type("\ue00c")
    page.see("#hit-2")
    assert page.address() == "/?q=lamps"
    page.until(lambda: page.focused() == "hit-2", "the focus did not come back")
    page.type("k", "k")
    assert page.focused() == "query"


def test_slash_goes_to_the_box_and_escape_empties_it(page: Page) -> None:
    """And a slash in the box is a slash."""
    page.open("/?q=lamps")
    page.hits(10)[0].find_element("css selector", ".rank")
    page.type("\ue015", "/")
    assert page.focused() == "query"
    page.type("a/b?jkm")
    assert page.query() == "a/b?jkm"
    page.type("\ue00c")
    assert (page.query(), page.focused()) == ("", "query")
    page.type("\ue00c")
    assert page.focused() == ""


def test_m_finds_more_like_the_hit_in_hand(page: Page, fake: Any) -> None:
    """By its id; the answer says of what, and can be gone back from."""
    page.open("/?q=lamps&filter=format%3Dmarkdown")
    page.hits(10)
    page.type("\ue015", "j", "m")
    page.until(lambda: fake.of("similar"), "nothing similar was asked for")
    assert fake.of("similar")[0] == {
        "ids": ["00000000-0000-5000-8000-000000000002"],
        "limit": 10,
        "by_document": True,
        "filters": ["format=markdown"],
    }
    assert "More like Lamps, part 2" in page.see("#notices .notice").text
    assert page.address().startswith("/?like=00000000")
    page.hits(10)
    page.click("#more")
    page.hits(20)
    assert fake.of("similar")[1]["limit"] == 20
    page.driver.back()
    page.until(lambda: page.query() == "lamps", "the query did not come back")
    page.hits(10)


def test_the_help_opens_and_letters_can_be_switched_off(page: Page) -> None:
    """Who dictates may not want single letters to be keys; the choice is kept."""
    page.open("/?q=lamps")
    page.hits(10)
    page.type("\ue015", "?")
    page.see("#help")
    page.one("#help .switch").click()
    page.type("\ue00c")
    page.gone("#help")
    assert page.focused() == "hit-1"
    page.type("j")
    assert page.focused() == "hit-1"
    page.type("\ue015")
    assert page.focused() == "hit-2"
    page.open("/?q=lamps")
    page.hits(10)
    assert not page.one("#letters").is_selected()


def test_the_address_says_all_that_is_asked_for(page: Page, fake: Any) -> None:
    """A bookmark brings back query, mode, filters, collection and grouping."""
    page.open(
        "/?q=a+%26+b%23&mode=dense&filter=format%3Dmarkdown&filter=year%3E%3D2020"
        "&collection=mails&chunks=1"
    )
    page.hits(10)
    assert fake.of("search") == [
        {
            "query": "a & b#",
            "limit": 10,
            "by_document": False,
            "mode": "dense",
            "filters": ["format=markdown", "year>=2020"],
            "collection": "mails",
        }
    ]
    assert page.query() == "a & b#"
    assert page.one("#modes input[value=dense]").is_selected()
    assert not page.one("#by-document").is_selected()
    page.see("#collection")
    assert page.one("#collection").get_property("value") == "mails"
    chips = [one.text for one in page.all("#filters bdi")]
    assert chips == ["format is markdown", "year ≥ 2020"]


def test_back_and_forward_go_through_searches(page: Page, fake: Any) -> None:
    """Pages that were left come back as they were, with further hits, and without a request."""
    page.open()
    page.search("first")
    page.hits(10)
    page.click("#more")
    page.hits(20)
    page.search("second")
    page.hits(10)
    asked = len(fake.of("search"))
    page.driver.back()
    page.until(lambda: page.query() == "first", "back did nothing")
    page.hits(20)
    page.driver.forward()
    page.until(lambda: page.query() == "second", "forward did nothing")
    page.hits(10)
    page.driver.back()
    page.driver.back()
    page.see(".state.start")
    assert page.all(HITS) == []
    assert len(fake.of("search")) == asked


def test_modes_and_grouping_search_again(page: Page, fake: Any) -> None:
    """At once, with the text that stands in the box."""
    page.open("/?q=lamps")
    page.hits(10)
    page.one("#modes input[value=lexical]").click()
    page.until(lambda: len(fake.of("search")) == 2, "the mode did nothing")
    page.one("#query").send_keys(" at sea")
    page.one("#by-document").click()
    page.until(lambda: len(fake.of("search")) == 3, "the grouping did nothing")
    assert fake.of("search")[2] == {
        "query": "lamps at sea",
        "limit": 10,
        "by_document": False,
        "mode": "lexical",
    }
    assert page.address() == "/?q=lamps+at+sea&mode=lexical&chunks=1"
    page.until(lambda: "passages" in page.one("#status").text, "still documents")


def test_facets_filter_and_chips_take_the_filter_off(page: Page, fake: Any) -> None:
    """Counts stand beside the hits; a value that would be misread as an expression is JSON."""
    page.open("/?q=lamps")
    html = page.see(".facet[title=html]")
    assert html.text.split() == ["html", "300", "chunks"] or html.text.split() == ["html", "300"]
    assert fake.of("facets")[0]["keys"] == [
        *("cluster_name", "format", "language", "root"),
        *("fields.title", "year"),
    ]
    page.click(".facet[title=html]")
    page.until(lambda: len(fake.of("search")) == 2, "the facet did nothing")
    assert fake.of("search")[1]["filters"] == ["format=html"]
    page.see(".facet[title=html][aria-pressed=true]")
    page.click("#filters .remove")
    page.until(lambda: len(fake.of("search")) == 3, "the chip did nothing")
    assert "filters" not in fake.of("search")[2]
    page.gone("#filters")
    page.click(".hit .cluster")
    page.until(lambda: len(fake.of("search")) == 4, "the cluster did nothing")
    assert fake.of("search")[3]["filters"] == ["cluster_name=Lights at sea"]


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("format", "is one of", "html, pdf", "format in html, pdf"),
        ("changed", "is from", "2026-05", "modified>=2026-05"),
        ("year", "is below", "1990", "year<1990"),
        ("year", "is not given", None, "year missing"),
        ("text", "has the words", "lamp oil", "text~lamp oil"),
    ],
)
def test_a_filter_is_put_together(
    page: Page, fake: Any, field: str, operator: str, value: str | None, expected: str
) -> None:
    """The conditions that are offered fit the field's type."""
    from selenium.webdriver.support.select import Select

    page.open("/?q=lamps")
    page.hits(10)
    page.click("#add-filter")
    Select(page.see("#filter-field")).select_by_visible_text(field)
    Select(page.one("#filter-operator")).select_by_visible_text(operator)
    if value is None:
        page.gone("#filter-value")
    else:
        page.one("#filter-value").send_keys(value)
    page.one("#filter-form button[type=submit]").click()
    page.until(lambda: len(fake.of("search")) == 2, "the filter did nothing")
    assert fake.of("search")[1]["filters"] == [expected]
    assert page.one("#filters bdi").text
    page.gone("#filter-form")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("year", "soon", "whole number"),
        ("changed", "yesterday", "a year, a month or a day"),
    ],
)
def test_a_value_that_cannot_be_is_refused_beside_it(
    page: Page, fake: Any, field: str, value: str, told: str
) -> None:
    """Nothing is asked of the server."""
    from selenium.webdriver.support.select import Select

    page.open("/?q=lamps")
    page.hits(10)
    page.click("#add-filter")
    Select(page.see("#filter-field")).select_by_visible_text(field)
    page.one("#filter-value").send_keys(value, "\ue007")
    page.until(lambda: told in page.one("#filter-hint").text, "it is not refused")
    assert page.focused() == "filter-value"
    assert len(fake.of("search")) == 1


def test_a_document_opens_at_the_place(page: Page, fake: Any) -> None:
    """The passage is marked, in sight and in hand, with what is around it; further text on ask."""
    page.open("/?q=lamps")
    fake.hits[0] |= {"start": 300_000, "end": 300_100}
    fake.hits[0]["metadata"] |= {"chunk": 300}
    page.search("lamps again")
    page.until(lambda: len(fake.of("search")) == 2, "no search")
    page.hits(10)
    page.click("#hit-1 h2 a")
    found = page.see(".found")
    assert "Chunk number 300." in found.text
    assert found.find_element("css selector", "mark").text == (
        "The lamp of a lighthouse is trimmed at dusk."
    )
    assert page.driver.execute_script(
        "const place = arguments[0].getBoundingClientRect();"
        "return document.activeElement === arguments[0] && place.top >= 0"
        " && place.top < innerHeight",
        found,
    )
    assert fake.of("documents") == [{"id": "notes/lamp 1.md", "offset": 240, "limit": 200}]
    link = page.one("#reader .source a")
    assert link.get_attribute("href") == "https://example.org/lamps?a=1"
    assert link.get_attribute("rel") == "noopener noreferrer"
    assert page.one("#reader h1").text == "Lamps, all parts"
    page.click("#reader-later")
    page.gone("#reader-later")
    page.click("#reader-earlier")
    page.until(lambda: len(page.all(".chunk")) == 410, "nothing came before")
    page.click("#reader-earlier")
    page.gone("#reader-earlier")
    order = [one.text.rpartition("number ")[2] for one in page.all(".chunk")[:: 449 // 4]]
    assert order == ["0.", "112.", "224.", "336.", "448."]
    page.click("#reader-close")
    page.see("#hit-1")


def test_a_place_can_be_bookmarked(page: Page, fake: Any) -> None:
    """By its start alone, too: the document is read until it is there."""
    page.open("/?q=lamps#/document/notes%2Fa%20%23b%3F%25.md?start=430000")
    found = page.see(".found")
    assert "Chunk number 430." in found.text
    assert {one["id"] for one in fake.of("documents")} == {"notes/a #b?%.md"}
    assert fake.of("search") == []
    page.click("#reader-close")
    page.hits(10)
    assert page.address() == "/?q=lamps"


def test_hostile_documents_are_text(page: Page, fake: Any) -> None:
    """Whatever a document says runs nothing, makes no element and no link."""
    metadata = {"chunk": 0, "headings": [HOSTILE] * 2, "cluster_name": HOSTILE, "format": HOSTILE}
    fake.hits[0] |= {
        "title": HOSTILE,
        "source": "javascript:window.ran='link'",
        "text": HOSTILE,
        "doc_id": HOSTILE,
        "start": 0,
        "metadata": metadata,
        "evidence": {"start": 2, "end": 30, "score": 1.0},
        "marks": [[1, 4], [25, 10_000]],
    }
    fake.hits[1] |= {"source": "https://example.org/\"><script>window.ran='link'</script>"}
    fake.hits[2] |= {"title": "a\u202egnp.exe\nb", "evidence": None, "marks": []}
    fake.changes = {"degraded": HOSTILE}
    fake.collections = [HOSTILE, "docs"]
    fake.document |= {"title": HOSTILE, "source": "data:text/html,<script>1</script>"}
    page.open()
    page.see(".topics")
    page.search(HOSTILE)
    first = page.hits(10)[0]
    assert first.find_element("css selector", "h2").text == HOSTILE
    assert first.find_element("css selector", ".passage").text == HOSTILE
    assert first.find_elements("css selector", ".source a") == []
    assert page.titles()[2] == "agnp.exe b"
    page.see(".facet")
    first.find_element("css selector", "h2 a").click()
    assert HOSTILE in page.see(".found").text
    assert page.one("#reader h1").text == HOSTILE
    assert page.all("#reader .source a") == []
    assert page.all("main img, main script, .top img, .top script, aside script, aside img") == []
    assert page.driver.execute_script("return window.ran") is None
    links = page.driver.execute_script("return [...document.links].map((one) => one.protocol)")
    assert set(links) <= {"http:", "https:"}


def test_a_key_is_asked_for_and_kept_for_the_tab(page: Page, fake: Any) -> None:
    """Once for all requests; a wrong one is asked for again; it is in no address and no form."""
    fake.key = "right-key"
    page.open("/?q=lamps")
    page.see("#key-dialog")
    page.until(lambda: page.focused() == "key", "the box has not the focus")
    page.type("wrong-key", "\ue007")
    page.until(lambda: "refused" in page.one("#key-why").text, "a wrong key is not told")
    page.type("two words", "\ue007")
    page.until(lambda: "no spaces" in page.one("#key-why").text, "no key can have a space")
    page.one("#key").clear()
    page.one("#key").send_keys("right-key", "\ue007")
    page.hits(10)
    page.gone("#key-dialog")
    page.see(".facet")
    assert "key" not in page.address()
    page.open("/?q=other")
    page.hits(10)
    assert not page.one("#key-dialog").is_displayed()
    kept = "return [sessionStorage.getItem('sextant-key'), JSON.stringify({...localStorage})]"
    assert page.driver.execute_script(kept) == ["right-key", "{}"]
    page.one("#help-button").click()
    page.see("#forget-key").click()
    page.gone("#forget-key")
    assert page.driver.execute_script(kept)[0] is None


def test_without_a_key_the_page_says_so(page: Page, fake: Any) -> None:
    """Cancelled, the reason stands there, and one can try again."""
    fake.key = "right-key"
    page.open("/?q=lamps")
    page.see("#key-dialog")
    page.one("#key-cancel").click()
    failure = page.see(".failure")
    assert "No key" in failure.text
    failure.find_element("css selector", "button").click()
    page.see("#key-dialog")
    page.type("right-key", "\ue007")
    page.hits(10)
    page.see(".facet")


@pytest.mark.parametrize(
    ("status", "told", "again"),
    [
        (400, "unknown filter key 'yaer'; did you mean year?", False),
        (404, "no collection 'x'; did you mean docs?", False),
        (429, "Try again in 7 seconds.", True),
        (503, "the store does not answer", True),
    ],
)
def test_problems_are_told(page: Page, fake: Any, status: int, told: str, again: bool) -> None:
    """Title, reason and request; a button where the same may succeed later."""
    fake.problems = {"search": (status, "A problem", "" if status == 429 else told)}
    page.open("/?q=lamps")
    failure = page.see(".failure")
    assert "A problem" in failure.text
    assert told.lower() in failure.text.lower()
    assert "req-7" in failure.text
    assert failure.get_attribute("role") == "alert"
    assert bool(failure.find_elements("css selector", "button")) is again
    assert page.all(HITS) == []
    fake.problems = {}
    page.search("other")
    page.hits(10)
    page.gone(".failure")


def test_a_server_that_is_away_is_told_and_tried_again(page: Page, fake: Any) -> None:
    """Also when the device is offline; once it is online again, by itself."""
    page.open("/?q=lamps")
    page.hits(10)
    page.driver.execute_cdp_cmd("Network.enable", {})
    away = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **away})
    try:
        page.search("other")
        assert "You are offline" in page.see(".failure").text
    finally:
        page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **away})
    page.hits(10)
    assert [one["query"] for one in fake.of("search")] == ["lamps", "other"]


def test_a_newer_search_ends_the_one_before(page: Page, fake: Any) -> None:
    """The first answer, which comes last, is not shown."""
    fake.hold = threading.Event()
    page.open()
    page.search("slow")
    page.until(lambda: fake.of("search"), "nothing was asked")
    page.see("#progress")
    assert page.one("#results").get_attribute("aria-busy") == "true"
    page.search("quick")
    page.until(lambda: len(fake.of("search")) == 2, "the second was not asked")
    fake.hold.set()
    page.hits(10)
    page.gone("#progress")
    assert page.driver.title == "quick · Sextant"
    assert page.one("#results").get_attribute("aria-busy") == "false"


def test_nothing_found_offers_to_drop_the_filters(page: Page, fake: Any) -> None:
    """And says for what."""
    kept, fake.hits = fake.hits, []
    page.open("/?q=unicorns&filter=format%3Dhtml")
    assert "Nothing found for unicorns" in page.see(".state").text
    fake.hits = kept
    page.click(".state button")
    page.hits(10)
    assert page.address() == "/?q=unicorns"


def test_a_blank_query_asks_nothing(page: Page, fake: Any) -> None:
    """The focus stays in the box."""
    page.open()
    page.see(".state.start")
    page.type("   ", "\ue007")
    assert page.focused() == "query"
    assert fake.of("search") == []


def test_notices_stand_over_the_hits(page: Page, fake: Any) -> None:
    """That the hits are no better than chance, and what is missing from the answer."""
    fake.changes = {"nothing_good": True, "degraded": "by words only: the encoder is away"}
    page.open("/?q=lamps")
    page.hits(10)
    notices = [one.text for one in page.all("#notices .notice")]
    assert notices[0] == "Less than was asked for. By words only: the encoder is away."
    assert notices[1].startswith("Nothing good here.")


def test_an_empty_store_says_how_to_fill_it(page: Page, fake: Any) -> None:
    """With the command."""
    fake.collections = []
    page.open()
    assert "sextant ingest FOLDER" in page.see(".state").text


def test_a_store_that_was_never_clustered_does_without(page: Page, fake: Any) -> None:
    """The start says what there is; facets that fail leave the hits alone."""
    fake.clusters = []
    fake.problems = {"facets": (503, "Away", "")}
    page.open()
    assert "12 documents, 1,500 passages in docs" in page.see(".state.start").text
    page.search("lamps")
    page.hits(10)
    page.gone(".facets")


def test_another_collection_is_searched(page: Page, fake: Any) -> None:
    """Filters of the one before are dropped: its fields may be others."""
    from selenium.webdriver.support.select import Select

    page.open("/?q=lamps&filter=year%3D2020")
    page.hits(10)
    Select(page.see("#collection")).select_by_visible_text("mails")
    page.until(lambda: len(fake.of("search")) == 2, "nothing was asked")
    assert fake.of("search")[1] == {
        "query": "lamps",
        "limit": 10,
        "by_document": True,
        "collection": "mails",
    }
    assert page.address() == "/?q=lamps&collection=mails"


def test_colours_follow_the_choice(page: Page) -> None:
    """Auto, light, dark; kept, and there before the page is drawn."""
    page.open()
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = page.driver.execute_script(ground)
    page.one("#theme").click()
    page.one("#theme").click()
    assert page.one("#theme").get_attribute("aria-label") == "Colours: dark"
    assert page.driver.execute_script(ground) != light
    page.open()
    assert page.driver.execute_script("return document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("address", ["/", "/?q=lamps", "/?q=lamps#/document/a.md?start=3000"])
def test_the_page_fits_a_small_phone(page: Page, fake: Any, address: str) -> None:
    """Nothing is wider than 360 pixels, however long a word is."""
    fake.hits[0] |= {"title": "w" * 300, "source": "/" + "p" * 400, "evidence": None, "marks": []}
    fake.hits[0]["text"] = "x" * 900
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        page.open(address)
        page.see(".state.start, .hit, .found")
        width = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= 360
        if "#" not in address and "q" in address:
            page.click("#show-facets")
            page.see(".facet")
            width = page.driver.execute_script("return document.documentElement.scrollWidth")
            assert width <= 360
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_works_from_a_folder_of_a_proxy(
    chromium: "Chrome", fake: Any, serve: Callable[[FastAPI], str]
) -> None:
    """Every address is relative to the page."""
    outer = FastAPI(openapi_url=None)
    outer.mount("/sextant", fake.app())
    page = Page(chromium, serve(outer))
    page.open("/sextant/?q=lamps")
    page.hits(10)
    page.click("#hit-1 h2 a")
    page.see(".found")
    page.click("#reader-close")
    page.see("#hit-1")
    assert page.address() == "/sextant/?q=lamps"


def test_the_page_says_when_scripts_are_off(
    chromium: "Chrome", serve: Callable[[FastAPI], str]
) -> None:
    """And names what does without."""
    app = FastAPI(openapi_url=None)
    add_page(app)
    page = Page(chromium, serve(app))
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(page.url)
        assert "needs JavaScript" in page.see("noscript .notice").text
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def _faults(page: Page) -> list[str]:
    """What axe finds that is serious or critical."""
    import selenium_axe_python

    axe = Path(selenium_axe_python.__file__).parent / "axe-core" / "axe.min.js"
    page.driver.execute_script(axe.read_text(encoding="utf-8"))
    found = page.driver.execute_async_script(
        "const done = arguments[0]; axe.run().then(done, (error) => done({error: String(error)}))"
    )
    assert "error" not in found, found
    return [
        f"{one['impact']}: {one['help']}: {json.dumps([node['html'] for node in one['nodes']])}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_serious(page: Page, fake: Any, colours: str, width: int) -> None:
    """In every state that the page has."""
    driver = page.driver
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": colours}]},
    )
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    try:
        page.open()
        page.see(".topics")
        assert _faults(page) == [], "start"
        fake.changes = {"nothing_good": True, "degraded": "by words only"}
        fake.hits[0] |= {"text": TEXT * 20, "duplicates": ["a", "b"]}
        page.open("/?q=lamps&filter=format%3Dmarkdown&filter=year%3D1990")
        page.hits(10)
        page.until(lambda: page.all(".facet"), "no facets")
        if width < 600:
            page.click("#show-facets")
        page.click("#add-filter")
        page.driver.execute_script(
            "for (const one of document.querySelectorAll('details')) one.open = true"
        )
        page.one(HITS).find_element("css selector", "[aria-controls^=hit]").click()
        assert _faults(page) == [], "results"
        page.one("#help-button").click()
        page.see("#help")
        assert _faults(page) == [], "help"
        page.one("#help-close").click()
        page.open("/#/document/a.md?start=300000&chunk=300&mark=30-50")
        page.see(".found")
        assert _faults(page) == [], "document"
        fake.problems = {"search": (503, "Away", "the store does not answer")}
        page.open("/?q=lamps")
        page.see(".failure")
        assert _faults(page) == [], "failure"
        fake.problems, fake.hits = {}, []
        page.open("/?like=abc&filter=format%3Dmarkdown")
        page.see(".state button")
        assert _faults(page) == [], "nothing found"
        fake.key = "right-key"
        page.open("/?q=lamps")
        page.see("#key-dialog")
        assert _faults(page) == [], "key"
        page.one("#key-cancel").click()
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
