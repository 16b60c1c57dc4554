// A document, read at the place that was found.

import { encode } from "./address.js";
import { button, byId, element, fill, outside } from "./elements.js";
import { marked, path } from "./hits.js";
import { failureElement } from "./notices.js";
import { characters, counted, day, offsets, oneLine, webAddress } from "./text.js";

const AROUND = 60;
const PAGE = 200;
const LONG_PAGE = 1000;

export class Reader {
  /**
   * @param {Api} api
   * @param {function(): ?string} collection Whose documents; null: the server's default.
   * @param {function()} close Back to the results.
   */
  constructor(api, collection, close) {
    this.api = api;
    this.collection = collection;
    this.close = close;
    this.place = null;
  }

  /** Opens a document at a place, see `address.readPlace`. */
  async open(place) {
    this.place = place;
    const root = byId("reader");
    root.hidden = false;
    root.setAttribute("aria-busy", "true");
    byId("progress").hidden = false;
    this.frame(oneLine(place.id));
    try {
      await this.read(place);
      this.reach();
    } catch (failure) {
      if (failure.name === "AbortError") return;
      this.body.replaceChildren(failureElement(failure, () => this.open(place)));
    }
    if (this.place !== place) return;
    root.setAttribute("aria-busy", "false");
    byId("progress").hidden = true;
  }

  /** Takes the document away, and ends what is under way for it. */
  shut() {
    if (!this.place) return;
    this.place = null;
    this.api.abort("document");
    byId("reader").hidden = true;
    byId("progress").hidden = true;
    fill(byId("reader"));
  }

  frame(title) {
    this.title = element("h1", { id: "reader-title", tabindex: "-1", dir: "auto" }, title);
    this.running = element("bdi", { class: "running", "aria-hidden": "true" });
    this.about = element("ul", { class: "facts", "aria-label": "About this document" });
    this.body = element("div", { class: "body" });
    this.source = element("p", { class: "where" });
    fill(
      byId("reader"),
      element(
        "p",
        { class: "bar-top" },
        button("← Back to the results", () => this.close(), { class: "plain", id: "reader-close" }),
        this.running,
      ),
      this.source,
      this.title,
      this.about,
      this.body,
    );
    this.title.focus({ preventScroll: true });
  }

  async fetch(offset, limit) {
    const asked = new URLSearchParams({ offset: String(offset), limit: String(limit) });
    if (this.collection()) asked.set("collection", this.collection());
    return this.api.ask("document", `v1/documents/${encode(this.place.id)}?${asked}`);
  }

  /** Reads until the place is there, and tells of the document. */
  async read(place) {
    this.first = Math.max(0, (place.chunk ?? 0) - AROUND);
    this.next = this.first;
    this.end = null;
    let answer = await this.fetch(this.first, PAGE);
    this.tell(answer.document);
    this.later = button("Read on", () => this.readOn(), { class: "main", id: "reader-later" });
    this.earlier = button("Read what comes before", () => this.readBack(), { class: "main", id: "reader-earlier" });
    this.text = element("div", { class: "text", dir: "auto" });
    this.body.replaceChildren(this.earlier, this.text, this.later);
    this.append(answer.chunks, PAGE);
    while (!this.later.hidden && place.start !== null && this.end <= place.start) {
      answer = await this.fetch(this.next, LONG_PAGE);
      this.append(answer.chunks, LONG_PAGE);
    }
  }

  tell(about) {
    const title = oneLine(about.title) || oneLine(about.source) || oneLine(this.place.id);
    const source = oneLine(about.source);
    const web = webAddress(about.source);
    this.total = Number.isInteger(about.chunks) ? about.chunks : null;
    this.title.textContent = title;
    this.running.textContent = title;
    document.title = `${title} · Sextant`;
    fill(this.source, element("bdi", { class: "source" }, web ? outside(web, source) : source));
    const told = [
      about.format, about.language, about.modified && `changed ${day(about.modified)}`,
      about.ingested_at && `stored ${day(about.ingested_at)}`,
      this.total !== null && counted(this.total, "passage"),
    ];
    fill(this.about, told.filter(Boolean).map((one) => element("li", {}, oneLine(one))));
  }

  append(chunks, asked) {
    let end = this.end ?? 0;
    for (const chunk of chunks) {
      this.text.append(this.chunk(chunk, end));
      end = Math.max(end, chunk.end);
    }
    this.end = end;
    this.next += chunks.length;
    const isLast = this.total === null ? chunks.length < asked : this.next >= this.total;
    this.later.hidden = isLast || chunks.length === 0;
    this.earlier.hidden = this.first === 0;
    if (!this.text.children.length) fill(this.text, element("p", { class: "soft" }, "This document has no text."));
  }

  /** One chunk, without what it repeats of the one before, unless it is the one that was found. */
  chunk(chunk, end) {
    const { start, chunk: ordinal, mark } = this.place;
    const isFound = start !== null ? chunk.start === start : ordinal === chunk.ordinal;
    const isSlice = characters(chunk.text) === chunk.end - chunk.start;
    const repeated = !isFound && isSlice ? Math.max(0, end - chunk.start) : 0;
    const range = { begin: offsets(chunk.text)(repeated), end: chunk.text.length };
    if (!isFound) return element("div", { class: "chunk" }, chunk.text.slice(range.begin));
    const evidence = mark && { start: mark[0], end: mark[1] };
    return element(
      "section",
      { class: "chunk found", tabindex: "-1", "aria-label": "The passage that was found" },
      path(chunk.headings, this.title.textContent),
      marked(chunk.text, evidence, []),
    );
  }

  /** Shows the place that was found. */
  reach() {
    const found = this.text.querySelector(".found");
    if (!found) {
      window.scrollTo(0, 0);
      return;
    }
    (found.querySelector("mark") ?? found).scrollIntoView({ block: "center" });
    found.focus({ preventScroll: true });
  }

  async readOn() {
    await this.further(this.later, async () => {
      const answer = await this.fetch(this.next, PAGE);
      this.append(answer.chunks, PAGE);
    });
  }

  async readBack() {
    await this.further(this.earlier, async () => {
      const from = Math.max(0, this.first - PAGE);
      const answer = await this.fetch(from, this.first - from);
      const held = this.text.firstElementChild;
      const top = held.getBoundingClientRect().top;
      let end = 0;
      const made = answer.chunks.map((chunk) => {
        const one = this.chunk(chunk, end);
        end = Math.max(end, chunk.end);
        return one;
      });
      this.text.prepend(...made);
      this.first = from;
      this.earlier.hidden = from === 0;
      window.scrollBy(0, held.getBoundingClientRect().top - top); // what was read stays in its place
    });
  }

  async further(clicked, read) {
    clicked.disabled = true;
    try {
      await read();
    } catch (failure) {
      if (failure.name === "AbortError") return;
      this.body.append(failureElement(failure, (event) => {
        event.target.closest(".state").remove();
        clicked.click();
      }));
    } finally {
      clicked.disabled = false;
    }
  }
}
