// Texts of documents: offsets, spans and one-line forms.

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;
const REVERSING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const SNIPPET = 420;
const REACH = 40;

/** Titles and names: one line, and none that turns the letters around it. */
export function oneLine(text) {
  return String(text ?? "").replace(CONTROL, " ").replace(REVERSING, "").trim();
}

/** The address of a source that is a web page; null for anything else, `javascript:` among it. */
export function webAddress(source) {
  try {
    const address = new URL(String(source));
    return ["http:", "https:"].includes(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}

/**
 * Turns offsets in characters, as the API counts them, into offsets in UTF-16, as strings here do.
 *
 * @param {string} text The text they point into.
 * @returns {function(number): number} Offsets out of range come back within it.
 */
export function offsets(text) {
  const clamp = (at, most) => Math.max(0, Math.min(most, Math.trunc(Number(at)) || 0));
  if (!/[\ud800-\udbff][\udc00-\udfff]/.test(text)) return (at) => clamp(at, text.length);
  const places = [0];
  for (const character of text) places.push(places.at(-1) + character.length);
  return (at) => places[clamp(at, places.length - 1)];
}

/** How many characters a text has, counted as the API counts. */
export function characters(text) {
  return text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}

/**
 * A text cut into pieces that are alike throughout.
 *
 * @param {string} text
 * @param {?{start: number, end: number}} evidence The sentence that answers.
 * @param {Array<[number, number]>} marks Where words of the query stand.
 * @param {{begin: number, end: number}} range UTF-16 offsets between which the pieces lie.
 * @returns {Array<{text: string, evidence: boolean, term: boolean}>}
 */
export function pieces(text, evidence, marks, range = { begin: 0, end: text.length }) {
  const at = offsets(text);
  const sentence = evidence ? [at(evidence.start), at(evidence.end)] : [0, 0];
  const terms = marks.map(([start, end]) => [at(start), at(end)]);
  const cuts = new Set([range.begin, range.end, ...sentence, ...terms.flat()]);
  const sorted = [...cuts].filter((cut) => cut >= range.begin && cut <= range.end).sort((a, b) => a - b);
  const inside = (place, [start, end]) => start <= place && place < end;
  return sorted.slice(0, -1).map((start, place) => ({
    text: text.slice(start, sorted[place + 1]),
    evidence: inside(start, sentence),
    term: terms.some((term) => inside(start, term)),
  }));
}

/**
 * The part of a text that a hit shows: around the sentence that answers, else from the first mark.
 *
 * @returns {{begin: number, end: number}} UTF-16 offsets, at white space where there is any near.
 */
export function snippetRange(text, evidence, marks) {
  if (text.length <= SNIPPET * 1.25) return { begin: 0, end: text.length };
  const at = offsets(text);
  const [first, last] = evidence
    ? [at(evidence.start), at(evidence.end)]
    : marks.length ? [at(marks[0][0]), at(marks[0][1])] : [0, 0];
  const spare = Math.max(0, SNIPPET - (last - first));
  const begin = Math.max(0, first - Math.floor(spare / 3));
  const end = Math.min(text.length, Math.max(last, begin + SNIPPET));
  return { begin: wordStart(text, begin, first), end: wordEnd(text, end, last) };
}

function wordStart(text, from, most) {
  if (from === 0) return 0;
  const found = text.slice(from, Math.min(from + REACH, most)).search(/\s\S/);
  return found < 0 ? whole(text, from) : from + found + 1;
}

function wordEnd(text, to, least) {
  if (to >= text.length) return text.length;
  const from = Math.max(to - REACH, least);
  const found = text.slice(from, to).search(/\s\S*$/);
  return found < 0 ? whole(text, to) : from + found;
}

/** Not between the two halves of one character. */
function whole(text, at) {
  return /[\udc00-\udfff]/.test(text[at] ?? "") && /[\ud800-\udbff]/.test(text[at - 1] ?? "") ? at - 1 : at;
}

/** A number as people read it. */
export function count(number) {
  return Number(number).toLocaleString("en");
}

/** "1 chunk", "2 chunks". */
export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** A day of an ISO 8601 time, as it stands. */
export function day(time) {
  return /^\d{4}-\d{2}-\d{2}/.test(String(time ?? "")) ? String(time).slice(0, 10) : oneLine(time);
}
