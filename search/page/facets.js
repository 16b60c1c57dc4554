// Values of fields with the chunks that have each: one click narrows the search to them.

import { byId, element, fill } from "./elements.js";
import { fieldName } from "./fields.js";
import { holding } from "./filters.js";
import { count, counted, oneLine } from "./text.js";

const FIRST = ["cluster_name", "format", "language", "root"];
const UNTOLD = new Set(["doc_id", "source", "title", "content_hash", "run_id", "chunk", "cluster", "text"]);
const MOST_KEYS = 8;
export const VALUES = 8;

/** Which of a collection's fields are worth counting. */
export function facetKeys(fields) {
  const countable = fields
    .filter(({ type }) => type === "keyword" || type === "integer")
    .map(({ name }) => name)
    .filter((name) => !UNTOLD.has(name));
  const first = FIRST.filter((name) => countable.includes(name));
  return [...first, ...countable.filter((name) => !FIRST.includes(name))].slice(0, MOST_KEYS);
}

/**
 * Shows the counts.
 *
 * @param {Object<string, {values: Array, whole: boolean}>} facets As the API answers.
 * @param {string[]} filters In force.
 * @param {function(string, *)} toggle Gets a key and a value, to filter by it or no longer to.
 * @returns {boolean} Whether there is anything to choose.
 */
export function showFacets(facets, filters, toggle) {
  const sections = Object.entries(facets)
    .filter(([key, { values, whole }]) => values.length > 1 || !whole || values.some(({ value }) => holding(filters, key, value)))
    .filter(([, { values }]) => values.length)
    .map(([key, facet], place) => section(key, facet, place, filters, toggle));
  fill(byId("facets"), sections.length ? element("h2", { class: "unseen" }, "Narrow down") : null, sections);
  return sections.length > 0;
}

function section(key, { values, whole }, place, filters, toggle) {
  const id = `facet-${place}`;
  const most = Math.max(...values.map(({ chunks }) => chunks));
  return element(
    "section",
    { "aria-labelledby": id },
    element("h3", { id }, fieldName(key)),
    element(
      "ul",
      {},
      values.map(({ value, chunks }) => {
        const held = holding(filters, key, value);
        const name = oneLine(value) || "(blank)";
        const chosen = element(
          "button",
          {
            type: "button",
            class: "facet",
            "aria-pressed": String(held !== undefined),
            title: name,
            click: () => toggle(key, value),
          },
          element("bdi", { class: "value" }, name),
          element("span", { class: "number" }, count(chunks), element("span", { class: "unseen" }, chunks === 1 ? " chunk" : " chunks")),
        );
        chosen.style.setProperty("--part", String(chunks / most));
        return element("li", {}, chosen);
      }),
    ),
    whole ? null : element("p", { class: "hint" }, `The ${counted(values.length, "most frequent", "most frequent")}.`),
  );
}
