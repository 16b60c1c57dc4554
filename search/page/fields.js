// Fields of documents: those that every collection has, and those that sources gave.

import { oneLine } from "./text.js";

/** Keys of `search.filters.FILTERABLE` that people ask for, and the chunk's own text. */
const STANDARD = {
  title: "keyword",
  text: "text",
  format: "keyword",
  language: "keyword",
  cluster_name: "keyword",
  modified: "datetime",
  ingested_at: "datetime",
  source: "keyword",
  root: "keyword",
  doc_id: "keyword",
};
const NAMES = {
  cluster_name: "cluster", modified: "changed", ingested_at: "stored", root: "folder", doc_id: "document",
};
/** Keys that filters have besides, which a source's field of the same name does not hide. */
const FURTHER = ["content_hash", "run_id", "chunk", "cluster"];

/**
 * What there is to filter by.
 *
 * @param {?Array<{name: string, type: string}>} given A collection's own fields; null: not known.
 * @returns {Array<{name: string, type: string}>} A source's come first.
 */
export function allFields(given) {
  const own = (given ?? []).filter(({ name, type }) => STANDARD[name] !== type && !FURTHER.includes(name));
  return [
    ...own.map(({ name, type }) => ({ name: name in STANDARD ? `fields.${name}` : name, type })),
    ...Object.entries(STANDARD).map(([name, type]) => ({ name, type })),
  ];
}

/** A key as people read it. */
export function fieldName(key) {
  const name = key.replace(/^fields\./, "");
  const own = name !== key && name in STANDARD ? " (source's own)" : "";
  return oneLine((NAMES[key] ?? name).replaceAll("_", " ")) + own;
}

/** One spelling of a key: `fields.year` is `year`, where no key of every collection is called so. */
export function plainKey(key) {
  const name = key.replace(/^fields\./, "");
  return name in STANDARD || FURTHER.includes(name) ? key : name;
}
