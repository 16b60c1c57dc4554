// Elements made from data. Text is set as text, never as markup: documents are hostile.

const SAFE_LINK = /^(?:https?:\/\/|[#?]|\.\/)/;

export const byId = (id) => document.getElementById(id);

/**
 * An element.
 *
 * @param {string} tag Its name.
 * @param {Object<string, *>} properties Attributes; functions are listeners (`click: ...`); null,
 *   undefined and false leave the attribute out, true sets it without a value.
 * @param {...(Node|string|number|null|Array)} children Strings become text.
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name === "href" && !SAFE_LINK.test(value)) throw new Error("no such link");
    else if (name.startsWith("on") || name === "style") throw new Error(`attribute ${name}`);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...shown(children));
  return made;
}

/** Puts new children in the place of all that were there. */
export function fill(parent, ...children) {
  parent.replaceChildren(...shown(children));
}

/** Children without what stands for nothing. */
function shown(children) {
  const nothing = [null, undefined, false, ""];
  return children.flat(Infinity).filter((one) => !nothing.includes(one));
}

/** A link to another site, which learns nothing of this one. */
export function outside(address, ...children) {
  return element(
    "a",
    { href: address, target: "_blank", rel: "noopener noreferrer", class: "outside" },
    ...children,
    element("span", { class: "unseen" }, " (opens elsewhere)"),
  );
}

/** A button that is no form's. */
export function button(words, click, properties = {}) {
  return element("button", { type: "button", click, ...properties }, words);
}
