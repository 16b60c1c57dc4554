// The page: what the address asks for is fetched and shown, and what is done changes the address.

import { askedAddress, readAsked, readPlace } from "./address.js";
import { Api } from "./api.js";
import { listenToControls, showAsked, showCollections } from "./controls.js";
import { askKey, Help } from "./dialogs.js";
import { byId } from "./elements.js";
import { facetKeys, showFacets, VALUES } from "./facets.js";
import { allFields } from "./fields.js";
import { expression, FilterForm, holding, showFilters } from "./filters.js";
import { listen } from "./keyboard.js";
import { showNoCollection, showNothing, showStart } from "./notices.js";
import { Reader } from "./reader.js";
import { Results } from "./results.js";
import { oneLine } from "./text.js";

const TOPICS = 12;

/** What the address asks for. */
let asked = readAsked(location.search);
/** A server's collections; null: not known yet. */
let collections = null;
/** For which collection and filters values were counted last. */
let counting = null;
/** Whether the document that is open was opened from the results. */
let openedHere = false;

const api = new Api(askKey);
const help = new Help(api);
const reader = new Reader(api, () => asked.collection, closeDocument);
const hitActions = {
  alike: (hit) => go({ ...asked, query: "", like: hit.id, mode: null }, { title: oneLine(hit.title) }),
  cluster: (hit) => toggle("cluster_name", hit.metadata.cluster_name),
  document: (hit) => go({ ...asked, byDocument: false, filters: [...asked.filters, expression("doc_id", "=", hit.doc_id)] }),
};
const results = new Results(api, {
  asked: () => asked,
  go,
  hit: hitActions,
  answered: () => {
    if (!collection()?.fields) learnCollections(); // not told before the collection was asked
  },
});
const filterForm = new FilterForm((one) => go({ ...current(), filters: [...new Set([...asked.filters, one])] }));

/** What is asked for, with what stands in the box. */
function current() {
  return asked.like ? asked : { ...asked, query: byId("query").value.trim() || asked.query };
}

/** Asks for something else: a new entry in the history, unless it is the same again. */
function go(next, state = null) {
  results.leave();
  const address = askedAddress(next);
  if (address !== askedAddress(asked) || location.hash) history.pushState(state, "", address);
  show({ again: true });
}

/** Shows what the address says. */
function show({ again = false } = {}) {
  asked = readAsked(location.search);
  const place = readPlace(location.hash);
  const wanted = asked.query.trim() !== "" || asked.like !== null;
  document.body.dataset.view = place ? "document" : wanted ? "results" : "start";
  byId("results").hidden = place !== null;
  showAsked(asked);
  showFilters(asked.filters, (gone) => go({ ...current(), filters: asked.filters.filter((one) => !gone.includes(one)) }));
  const words = asked.like ? "More like this" : oneLine(asked.query);
  document.title = words ? `${words} · Sextant` : "Sextant";
  byId("results-title").textContent = words ? `Results: ${words}` : "Search";
  if (place) {
    reader.open(place);
    return;
  }
  reader.shut();
  countValues();
  if (wanted) results.show(again);
  else start();
}

/** What stands there before the first search. */
async function start() {
  const address = askedAddress(asked);
  results.stop(address);
  if (collections === null) return;
  const here = collection();
  if (!here) {
    showNoCollection();
    return;
  }
  showStart(here, [], chooseTopic);
  try {
    const query = asked.collection ? `?${new URLSearchParams({ collection: asked.collection })}` : "";
    const { clusters } = await api.ask("clusters", `v1/clusters${query}`);
    if (results.address !== address || document.body.dataset.view !== "start") return;
    const largest = clusters.filter(({ name }) => name).sort((a, b) => (b.now ?? b.size) - (a.now ?? a.size));
    showStart(here, largest.slice(0, TOPICS), chooseTopic);
  } catch {
    // never clustered, or not to be had just now: the page does without
  }
}

function chooseTopic(name) {
  go({ ...asked, query: name, filters: [expression("cluster_name", "=", name)] });
}

function toggle(key, value) {
  const held = holding(asked.filters, key, value);
  const others = asked.filters.filter((one) => one !== held);
  go({ ...current(), filters: held ? others : [...others, expression(key, "=", value)] });
}

/** The collection that is searched; undefined: not known, or there is none. */
function collection() {
  const wanted = asked.collection;
  return collections?.find((one) => (wanted ? one.name === wanted : one.default)) ?? (wanted ? undefined : collections?.[0]);
}

/** Counts the values beside the hits; they depend on the filters, and not on the query. */
async function countValues() {
  const here = collection();
  const wanted = JSON.stringify([here?.name, here?.fields, asked.filters]);
  if (document.body.dataset.view !== "results" || !here || counting === wanted) return;
  counting = wanted;
  let some = false;
  try {
    const { facets } = await api.ask("facets", "v1/facets", {
      keys: facetKeys(allFields(here.fields)),
      limit: VALUES,
      ...(asked.filters.length ? { filters: asked.filters } : {}),
      ...(asked.collection ? { collection: asked.collection } : {}),
    });
    some = showFacets(facets, asked.filters, toggle);
  } catch (failure) {
    if (failure.name === "AbortError") return;
    counting = null; // hits do without; the next search asks again
  }
  byId("facets").hidden = !some;
  byId("show-facets").hidden = !some;
}

async function learnCollections() {
  try {
    ({ collections } = await api.ask("collections", "v1/collections"));
  } catch (failure) {
    if (document.body.dataset.view === "start" && failure.name !== "AbortError") {
      results.fail(failure, () => {
        showNothing();
        learnCollections();
      });
    }
    return;
  }
  showCollections(collections, asked.collection);
  filterForm.setFields(allFields(collection()?.fields));
  if (document.body.dataset.view === "start") start();
  else countValues();
}

function closeDocument() {
  if (openedHere) {
    history.back();
    return;
  }
  history.pushState(null, "", askedAddress(asked));
  show();
}

listenToControls({
  submit: (query) => {
    if (query) go({ ...asked, query, like: null });
    else byId("query").focus();
  },
  mode: (mode) => go({ ...current(), mode }),
  grouping: (byDocument) => go({ ...current(), byDocument }),
  collection: (name) => {
    go({ ...current(), collection: name, filters: [], like: null });
    filterForm.setFields(allFields(collection()?.fields));
  },
});
listen({ alike: hitActions.alike, help: () => help.open(), close: closeDocument });
byId("brand").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const here = collection() ? asked.collection : null; // not one that is not there
  go({ query: "", like: null, mode: null, filters: [], collection: here, byDocument: true });
  byId("query").focus();
});
byId("hits").addEventListener("click", (event) => {
  const link = event.target.closest("h2 a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  link.closest(".hit").focus({ preventScroll: true });
  results.leave();
  openedHere = true;
});
window.addEventListener("popstate", () => {
  if (!readPlace(location.hash)) {
    openedHere = false;
    if (byId("reader").hidden) results.leave();
  }
  show();
});
window.addEventListener("online", () => results.reconnected());

history.scrollRestoration = "manual";
filterForm.setFields(allFields(null));
show();
learnCollections();
if (document.body.dataset.view !== "document") byId("query").focus();
