// Keys: to the box, through the hits, and what can be done with the one in hand.

import { byId } from "./elements.js";
import { hitOf } from "./hits.js";
import { lettersAreKeys } from "./dialogs.js";

/**
 * Listens for keys.
 *
 * @param {{alike: function(Object), help: function(), close: function()}} actions `close` is back
 *   from a document to the results.
 */
export function listen(actions) {
  const query = byId("query");

  query.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.preventDefault();
      if (query.value) query.value = "";
      else query.blur();
    } else if (event.key === "ArrowDown" && step(1)) event.preventDefault();
  });

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]") || isTyping(event.target)) return;
    if (act(event.key, actions)) event.preventDefault();
  });
}

function act(key, actions) {
  const reading = !byId("reader").hidden;
  const hit = inHand();
  if (key === "Escape" && reading) return done(actions.close);
  if (key === "ArrowDown" || key === "ArrowUp") return hit !== null && step(key === "ArrowDown" ? 1 : -1);
  if (key === "Enter" && hit && document.activeElement === hit) return done(() => hit.querySelector("h2 a").click());
  if (!lettersAreKeys()) return false;
  if (key === "/") return done(() => { byId("query").focus(); byId("query").select(); });
  if (key === "?") return done(actions.help);
  if (reading) return false;
  if (key === "j" || key === "k") return step(key === "j" ? 1 : -1);
  if (key === "m" && hit) return done(() => actions.alike(hitOf.get(hit)));
  return false;
}

function done(action) {
  action();
  return true;
}

function isTyping(target) {
  return Boolean(target.closest?.("input:not([type=checkbox], [type=radio]), select, textarea"));
}

function inHand() {
  return document.activeElement?.closest(".hit") ?? null;
}

/** To the next or previous hit; before the first is the box. */
function step(by) {
  const hits = [...document.querySelectorAll("#hits .hit")];
  if (!hits.length || !byId("reader").hidden) return false;
  const hit = inHand();
  const at = hit ? hits.indexOf(hit) + by : by > 0 ? 0 : hits.length - 1;
  if (at < 0) {
    byId("query").focus();
    return true;
  }
  const next = hits[Math.min(at, hits.length - 1)];
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  return true;
}
