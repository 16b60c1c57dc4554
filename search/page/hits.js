// Hits: what was found, where it stands, and the sentence that answers.

import { placeAddress } from "./address.js";
import { button, byId, element, outside } from "./elements.js";
import { count, counted, day, offsets, oneLine, pieces, snippetRange, webAddress } from "./text.js";

/**
 * Adds hits to the list.
 *
 * @param {Array<Object>} hits As the API answers.
 * @param {{alike: function, cluster: function, document: function}} actions What their buttons do;
 *   each gets the hit.
 * @returns {Array<HTMLElement>} The hits' elements.
 */
export function addHits(hits, actions) {
  const made = hits.map((hit) => article(hit, actions));
  byId("hits").append(...made.map((one) => element("li", {}, one)));
  byId("hits").hidden = byId("hits").children.length === 0;
  return made;
}

/** The address, title and so on of a hit's element. */
export const hitOf = new WeakMap();

/** The passage of a hit: pieces of its text, marked. */
export function marked(text, evidence, marks, range) {
  const made = pieces(text, evidence, marks, range).map((piece) => ({
    ...piece,
    node: piece.term ? element("b", { class: "term" }, piece.text) : document.createTextNode(piece.text),
  }));
  const nodes = [];
  for (const piece of made) {
    const open = nodes.at(-1);
    if (!piece.evidence) nodes.push(piece.node);
    else if (open?.localName === "mark") open.append(piece.node);
    else nodes.push(element("mark", {}, piece.node));
  }
  return nodes;
}

function article(hit, actions) {
  const id = `hit-${hit.rank}`;
  const title = oneLine(hit.title) || oneLine(hit.source) || "Untitled";
  const web = webAddress(hit.source);
  const made = element(
    "article",
    { class: "hit", id, tabindex: "-1", "aria-labelledby": `${id}-title`, "data-id": hit.id },
    element(
      "p",
      { class: "where" },
      element("span", { class: "rank", "aria-hidden": "true" }, String(hit.rank)),
      element("bdi", { class: "source" }, web ? outside(web, oneLine(hit.source)) : oneLine(hit.source)),
    ),
    element("h2", { id: `${id}-title` }, element("a", { href: placeAddress(hit), dir: "auto" }, title)),
    path(hit.metadata?.headings, title),
    passage(hit),
    facts(hit, actions),
    foot(hit, actions),
  );
  hitOf.set(made, hit);
  return made;
}

/** The headings that enclose it, without one that only repeats the title. */
export function path(headings, title) {
  const names = (Array.isArray(headings) ? headings : []).map(oneLine).filter(Boolean);
  if (names[0] === title) names.shift();
  if (!names.length) return null;
  return element(
    "ol",
    { class: "path", "aria-label": "Headings" },
    names.map((name) => element("li", {}, element("bdi", {}, name))),
  );
}

function passage(hit) {
  const marks = hit.marks ?? [];
  const range = snippetRange(hit.text, hit.evidence, marks);
  if (range.begin === 0) range.begin = headingLength(hit);
  const isCut = range.begin > headingLength(hit);
  const isWhole = !isCut && range.end === hit.text.length;
  const text = element("p", { class: "passage", dir: "auto", id: `hit-${hit.rank}-text` });
  const draw = (whole) => text.replaceChildren(
    ...(!whole && isCut ? ["… "] : []),
    ...marked(hit.text, hit.evidence, marks, whole && !isWhole ? undefined : range),
    ...(!whole && range.end < hit.text.length ? [" …"] : []),
  );
  draw(isWhole);
  if (isWhole) return text;
  const opener = button("Whole passage", () => {
    const open = opener.getAttribute("aria-expanded") !== "true";
    opener.setAttribute("aria-expanded", String(open));
    opener.textContent = open ? "Less" : "Whole passage";
    text.classList.toggle("whole", open);
    draw(open);
  }, { class: "plain", "aria-expanded": "false", "aria-controls": `hit-${hit.rank}-text` });
  return [text, opener];
}

/** How much of a text is its own heading in Markdown, which stands over it already. */
function headingLength({ text, evidence, metadata }) {
  const line = /^#{1,6} +([^\n]+)\n\s*/.exec(text);
  const heading = metadata?.headings?.at?.(-1);
  if (!line || line[1].trim() !== heading || line[0].length === text.length) return 0;
  return evidence && offsets(text)(evidence.start) < line[0].length ? 0 : line[0].length;
}

function facts(hit, actions) {
  const metadata = hit.metadata ?? {};
  const cluster = oneLine(metadata.cluster_name);
  const told = [
    cluster && button(element("bdi", {}, cluster), () => actions.cluster(hit), { class: "cluster", title: "Only this cluster" }),
    hit.percentile !== null && hit.percentile !== undefined && chance(hit.percentile),
    metadata.format && element("span", {}, oneLine(metadata.format)),
    metadata.language && element("span", {}, oneLine(metadata.language)),
    metadata.modified && element("span", {}, element("span", { class: "unseen" }, "changed "), day(metadata.modified)),
  ].filter(Boolean);
  return element("ul", { class: "facts", "aria-label": "About this hit" }, told.map((one) => element("li", {}, one)));
}

function chance(percentile) {
  const part = Math.max(0, Math.min(1, percentile));
  const bar = element("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--part", String(part));
  const percent = Math.floor(part * 100);
  return element("span", { class: "chance", title: "How it compares with the best hits of meaningless questions" }, bar, `nearer than ${percent} % of chance`);
}

function foot(hit, actions) {
  return element(
    "div",
    { class: "foot" },
    button("More like this", () => actions.alike(hit), { class: "quiet alike" }),
    hit.more ? button(`${count(hit.more)} more in this document`, () => actions.document(hit), { class: "quiet" }) : null,
    hit.duplicates?.length ? element("span", { class: "soft" }, `and ${counted(hit.duplicates.length, "passage")} with the same text`) : null,
    why(hit),
  );
}

function why(hit) {
  const ranks = hit.ranks;
  if (!ranks) return null;
  const place = (name, rank, score, unit) => (rank === null || rank === undefined
    ? `not found by ${name}`
    : `${ordinal(rank)} by ${name} (${unit} ${Number(score ?? 0).toFixed(3)})`);
  return element(
    "details",
    { class: "why" },
    element("summary", {}, "Why here"),
    element(
      "p",
      {},
      `${place("meaning", ranks.dense_rank, ranks.dense_score, "cosine")}; ${place("words", ranks.lexical_rank, ranks.lexical_score, "BM25")}. Score ${Number(hit.score).toFixed(4)}.`,
    ),
  );
}

function ordinal(number) {
  const tail = number % 100;
  const ending = tail > 10 && tail < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th";
  return `${count(number)}${ending}`;
}
