// The answer on the page: asked for, drawn, lengthened, and kept when it is left.

import { askedAddress } from "./address.js";
import { button, byId, element, fill } from "./elements.js";
import { addHits } from "./hits.js";
import { showMode } from "./controls.js";
import {
  say, showBusy, showFailure, showNotices, showNothing, showNothingFound, showTimings,
} from "./notices.js";
import { counted, oneLine } from "./text.js";

const PAGE = 10;
const MOST = 1000;
const REMEMBERED = 12;

export class Results {
  /**
   * @param {Api} api
   * @param {{asked: function(): Asked, go: function(Asked), hit: Object, answered: function()}} page
   *   What is asked for now; how to ask for something else; what the buttons of a hit do; told when
   *   a search was answered.
   */
  constructor(api, page) {
    this.api = api;
    this.page = page;
    /** The address of what is on the page; its answer, put together; the failure, if there was one. */
    this.address = null;
    this.answer = null;
    this.failure = null;
    this.left = new Map();
    byId("more").addEventListener("click", () => this.more());
  }

  /** Notes how far the results were read, so that going back finds them as they were. */
  leave() {
    if (byId("results").hidden || !this.address) return;
    const hit = document.activeElement?.closest(".hit");
    this.left.delete(this.address);
    this.left.set(this.address, { answer: this.answer, scroll: window.scrollY, focus: hit?.id ?? null });
    if (this.left.size > REMEMBERED) this.left.delete(this.left.keys().next().value);
  }

  /** Shows what is asked for: as it is, as it was left, or searched for. */
  show(again) {
    const address = askedAddress(this.page.asked());
    const was = this.left.get(address);
    if (!again && this.address === address) this.comeBack(was);
    else if (!again && was?.answer) {
      this.stop(address);
      this.answer = was.answer;
      this.draw();
      this.comeBack(was);
    } else this.search();
  }

  comeBack(was) {
    window.scrollTo(0, was?.scroll ?? 0);
    if (was?.focus) byId(was.focus)?.focus({ preventScroll: true });
  }

  /** Takes away what is there, and ends what is under way. */
  stop(address) {
    this.api.abort("search");
    showBusy(false);
    Object.assign(this, { address, answer: null, failure: null });
    this.clear();
  }

  clear() {
    fill(byId("hits"));
    byId("hits").hidden = true;
    byId("more").hidden = true;
    fill(byId("notices"));
    showTimings(null);
    showNothing();
    say();
  }

  fail(failure, retry) {
    this.failure = failure;
    showFailure(failure, retry);
  }

  /** Searches again, if the server was not to be reached. */
  reconnected() {
    if (this.failure?.unreached) byId("state").querySelector("button")?.click();
  }

  request(limit, cursor = null) {
    const asked = this.page.asked();
    const rest = {
      limit,
      by_document: asked.byDocument,
      ...(asked.filters.length ? { filters: asked.filters } : {}),
      ...(asked.collection ? { collection: asked.collection } : {}),
    };
    if (asked.like) return ["v1/similar", { ids: [asked.like], ...rest }];
    return ["v1/search", {
      query: asked.query,
      ...rest,
      ...(asked.mode ? { mode: asked.mode } : {}),
      ...(cursor ? { cursor } : {}),
    }];
  }

  /** Asks for the first page; what is there stays, pale, until the answer comes. */
  async search() {
    Object.assign(this, { address: askedAddress(this.page.asked()), answer: null, failure: null });
    showBusy(true);
    say("Searching …");
    try {
      const answer = await this.api.ask("search", ...this.request(PAGE));
      this.answer = { ...answer, asked: PAGE };
      this.draw();
      if (!byId("results").hidden) window.scrollTo(0, 0);
      this.page.answered();
    } catch (failure) {
      if (failure.name === "AbortError") return;
      this.clear();
      this.fail(failure, () => this.search());
    }
    showBusy(false);
  }

  draw() {
    const { answer } = this;
    const asked = this.page.asked();
    this.clear();
    if (!asked.mode && !asked.like && !answer.degraded) showMode(answer.mode);
    showNotices(answer, asked.like && this.likeness());
    addHits(answer.hits, this.page.hit);
    this.outcome();
    if (!answer.hits.length) {
      showNothingFound(asked.query, asked.filters.length, () => this.page.go({ ...asked, filters: [] }));
    }
  }

  outcome() {
    const { hits, timings_ms: timings } = this.answer;
    const unit = this.page.asked().byDocument ? "document" : "passage";
    const further = this.hasMore() ? ", and there are more" : "";
    say(hits.length ? `${counted(hits.length, unit)}${further}` : "Nothing found");
    showTimings(timings);
    byId("more").hidden = !this.hasMore();
  }

  /** Of a search the cursor tells; of what is like a passage, whether so many came as were wanted. */
  hasMore() {
    const { cursor, hits, asked: most } = this.answer;
    const isLike = this.page.asked().like !== null;
    return Boolean(cursor) || (isLike && hits.length > 0 && hits.length === most && most < MOST);
  }

  likeness() {
    const asked = this.page.asked();
    const name = element("bdi", {}, oneLine(history.state?.title) || oneLine(asked.like));
    const stop = button("Stop", () => this.page.go({ ...asked, like: null }), { class: "plain" });
    return element("p", { class: "notice", role: "note" }, "More like ", element("strong", {}, name), ". ", stop);
  }

  /** Asks for the next page, and puts it under what is there. */
  async more() {
    const { answer, address } = this;
    const isLike = this.page.asked().like !== null;
    const most = isLike ? Math.min(MOST, answer.asked + PAGE) : PAGE;
    byId("more").disabled = true;
    byId("progress").hidden = false;
    try {
      const next = await this.api.ask("search", ...this.request(most, answer.cursor));
      const known = new Set(answer.hits.map(({ id }) => id));
      const fresh = next.hits.filter(({ id }) => !known.has(id));
      this.answer = { ...answer, ...next, asked: most, hits: [...answer.hits, ...fresh] };
      const made = addHits(fresh, this.page.hit);
      this.outcome();
      made[0]?.focus();
    } catch (failure) {
      if (failure.name === "AbortError") return;
      if (this.address === address) {
        this.fail(failure, () => {
          showNothing();
          this.more();
        });
      }
    } finally {
      byId("more").disabled = false;
      byId("progress").hidden = true;
    }
  }
}
