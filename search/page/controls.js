// The controls around the box, set to what is asked for.

import { byId, element, fill } from "./elements.js";
import { counted, oneLine } from "./text.js";

/** The way of searching that is chosen. */
export function chosenMode() {
  return document.querySelector("#modes input:checked").value;
}

/** Shows a way of searching as chosen. */
export function showMode(mode) {
  const found = document.querySelector(`#modes input[value="${CSS.escape(mode)}"]`);
  if (found) found.checked = true;
}

/** Sets box, mode, grouping and collection to what is asked for. */
export function showAsked(asked) {
  byId("query").value = asked.query;
  showMode(asked.mode ?? "hybrid");
  byId("by-document").checked = asked.byDocument;
  byId("modes").disabled = asked.like !== null;
  if (asked.collection) byId("collection").value = asked.collection;
  else {
    const standard = byId("collection").querySelector("[data-default]");
    if (standard) standard.selected = true;
  }
}

/**
 * Offers the collections, if there are several.
 *
 * @param {Array<{name: string, documents: ?number, default: boolean}>} collections
 * @param {?string} chosen None: the default.
 */
export function showCollections(collections, chosen) {
  byId("collection-choice").hidden = collections.length < 2;
  fill(byId("collection"), collections.map(({ name, documents, default: standard }) => element(
    "option",
    {
      value: name,
      title: documents === null ? null : counted(documents, "document"),
      "data-default": standard,
      selected: chosen === null ? standard : chosen === name,
    },
    oneLine(name),
  )));
}

/**
 * Tells when something else is chosen.
 *
 * @param {{submit: function(string), mode: function(string), grouping: function(boolean),
 *   collection: function(?string)}} changed
 */
export function listenToControls(changed) {
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    changed.submit(byId("query").value.trim());
  });
  byId("modes").addEventListener("change", () => changed.mode(chosenMode()));
  byId("by-document").addEventListener("change", (event) => changed.grouping(event.target.checked));
  byId("collection").addEventListener("change", (event) => {
    const chosen = event.target.selectedOptions[0];
    changed.collection(chosen.hasAttribute("data-default") ? null : chosen.value);
  });
  byId("show-facets").addEventListener("click", (event) => {
    const open = document.body.classList.toggle("narrowing");
    event.currentTarget.setAttribute("aria-expanded", String(open));
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
}
