// What is asked for, in the page's address: it can be bookmarked, and gone back to.

const MODES = ["hybrid", "dense", "lexical"];
const DOCUMENT = /^#\/document\/([^?]+)(?:\?(.*))?$/;

/**
 * @typedef {Object} Asked
 * @property {string} query
 * @property {?string} like Id of a chunk or document to be near to; then there is no query.
 * @property {?string} mode None: the server's.
 * @property {string[]} filters
 * @property {?string} collection None: the server's.
 * @property {boolean} byDocument
 */

/** What an address asks for. */
export function readAsked(search) {
  const given = new URLSearchParams(search);
  const mode = given.get("mode");
  const like = given.get("like") || null;
  return {
    query: like ? "" : given.get("q") ?? "",
    like,
    mode: MODES.includes(mode) ? mode : null,
    filters: [...new Set(given.getAll("filter").filter((one) => one.trim()))],
    collection: given.get("collection") || null,
    byDocument: given.get("chunks") !== "1",
  };
}

/** The address of what is asked for, relative to the page. */
export function askedAddress(asked) {
  const given = new URLSearchParams();
  if (asked.like) given.set("like", asked.like);
  else if (asked.query) given.set("q", asked.query);
  if (asked.mode) given.set("mode", asked.mode);
  for (const filter of asked.filters) given.append("filter", filter);
  if (asked.collection) given.set("collection", asked.collection);
  if (!asked.byDocument) given.set("chunks", "1");
  const text = given.toString();
  return text ? `?${text}` : "./";
}

/**
 * Which place of which document an address names; null for none.
 *
 * @returns {?{id: string, start: ?number, end: ?number, chunk: ?number, mark: ?[number, number]}}
 *   `chunk` is the place among the document's chunks, `mark` a span in it.
 */
export function readPlace(hash) {
  const found = DOCUMENT.exec(hash);
  if (!found) return null;
  let id;
  try {
    id = decodeURIComponent(found[1]);
  } catch {
    return null;
  }
  const given = new URLSearchParams(found[2] ?? "");
  const mark = /^(\d+)-(\d+)$/.exec(given.get("mark") ?? "");
  return {
    id,
    start: whole(given.get("start")),
    end: whole(given.get("end")),
    chunk: whole(given.get("chunk")),
    mark: mark ? [Number(mark[1]), Number(mark[2])] : null,
  };
}

/** The address of a hit's place in its document: its chunk, and the sentence that answers. */
export function placeAddress(hit) {
  const given = new URLSearchParams({ start: hit.start, end: hit.end });
  if (Number.isInteger(hit.metadata?.chunk)) given.set("chunk", hit.metadata.chunk);
  if (hit.evidence) given.set("mark", `${hit.evidence.start}-${hit.evidence.end}`);
  return `#/document/${encode(hit.doc_id)}?${given}`;
}

/** A part of a path; half a character, which some names have, is replaced. */
export function encode(text) {
  return encodeURIComponent(text.toWellFormed ? text.toWellFormed() : text);
}

function whole(text) {
  return /^\d{1,12}$/.test(text ?? "") ? Number(text) : null;
}
