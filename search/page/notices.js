// What the page says where there are no hits, or something about them is to be known.

import { button, byId, element, fill } from "./elements.js";
import { counted, oneLine } from "./text.js";

/** Says how many there are, to those who cannot see it too. */
export function say(...words) {
  fill(byId("status"), words);
}

/** The milliseconds of an answer, and folded those of its stages; none where there are none. */
export function showTimings(found) {
  const { total, ...stages } = found ?? {};
  const shown = (ms) => (ms < 10 ? ms.toFixed(1) : String(Math.round(ms)));
  fill(byId("timings"), Number.isFinite(total) && element(
    "details",
    {},
    element("summary", {}, `${shown(total)} ms`),
    element("ul", {}, Object.entries(stages).map(([name, ms]) => element("li", {}, `${name} ${shown(ms)} ms`))),
  ));
}

/** Notices over the hits. */
export function showNotices(answer, like) {
  fill(
    byId("notices"),
    like,
    answer.degraded && notice("Less than was asked for", sentence(answer.degraded), "warning"),
    answer.nothing_good && notice(
      "Nothing good here",
      "These hits are no nearer than those that meaningless words would find. Other words may do better.",
      "warning",
    ),
  );
}

function notice(title, words, kind) {
  return element("p", { class: `notice ${kind}`, role: "note" }, element("strong", {}, `${title}. `), words);
}

function sentence(words) {
  const line = oneLine(words);
  return `${line.slice(0, 1).toUpperCase()}${line.slice(1)}${/[.!?]$/.test(line) ? "" : "."}`;
}

function state(title, ...content) {
  return element("section", { class: "state" }, element("h2", {}, title), ...content);
}

/** Takes the state away. */
export function showNothing() {
  fill(byId("state"));
}

/**
 * Before the first search.
 *
 * @param {{documents: ?number, chunks: ?number, name: string}} collection
 * @param {Array<{name: string, now: number}>} clusters Of the last clustering; may be empty.
 * @param {function(string)} choose Gets a cluster's name.
 */
export function showStart(collection, clusters, choose) {
  const topics = clusters.length > 0 && element(
    "div",
    { class: "topics" },
    element("h3", {}, "What is in it"),
    element("ul", { class: "chips" }, clusters.map(({ name }) => element("li", { class: "bare" }, button(element("bdi", {}, oneLine(name)), () => choose(name), { class: "cluster" })))),
  );
  fill(
    byId("state"),
    element(
      "section",
      { class: "state start" },
      collection.chunks !== null && element("p", {}, `${counted(collection.documents, "document")}, ${counted(collection.chunks, "passage")} in `, element("bdi", {}, oneLine(collection.name))),
      topics,
    ),
  );
}

/** There is nothing to search. */
export function showNoCollection() {
  fill(byId("state"), state(
    "Nothing is stored yet",
    element("p", {}, "Documents come in with ", element("code", {}, "sextant ingest FOLDER"), "; then reload this page."),
  ));
}

/**
 * A search without hits.
 *
 * @param {string} query
 * @param {number} filters How many are in force.
 * @param {function()} widen Takes them away.
 */
export function showNothingFound(query, filters, widen) {
  const words = query ? ["Nothing found for ", element("q", {}, element("bdi", {}, oneLine(query)))] : ["Nothing found"];
  fill(byId("state"), state(
    words,
    element("p", {}, filters ? "The filters may leave nothing to find." : "Try other words, or fewer of them; by meaning, a whole question does best."),
    filters ? button("Search without filters", widen, { class: "main" }) : null,
  ));
}

/** What went wrong, and a way on; for `Failure`s and for faults of the page itself. */
export function failureElement(failure, retry) {
  const detail = oneLine(failure.detail ?? failure.message);
  const after = failure.after ? ` Try again in ${counted(failure.after, "second")}.` : "";
  const title = failure.title ? oneLine(failure.title) : "The page failed";
  const made = state(
    title,
    detail || after ? element("p", {}, detail && sentence(detail), after) : null,
    isPassing(failure) && button("Try again", retry, { class: "main" }),
    failure.request ? element("p", { class: "hint" }, "Request ", element("code", {}, oneLine(failure.request))) : null,
  );
  made.classList.add("failure");
  made.setAttribute("role", "alert");
  return made;
}

/** Whether the same request may succeed another time. */
function isPassing({ status }) {
  return status === undefined || status === 0 || [401, 408, 429].includes(status) || status >= 500;
}

export function showFailure(failure, retry) {
  fill(byId("state"), failureElement(failure, retry));
}

/** Whether a request is under way: a line, and what was there before pales. */
export function showBusy(busy) {
  byId("progress").hidden = !busy;
  byId("results").setAttribute("aria-busy", String(busy));
  byId("results").classList.toggle("pale", busy);
}
