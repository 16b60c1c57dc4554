// The two dialogs: the API key, and help.

import { byId } from "./elements.js";
import { isKey } from "./api.js";

const LETTERS = "sextant-letters";

/**
 * Asks for an API key.
 *
 * @param {boolean} refused Whether the one before was.
 * @returns {Promise<?string>} Null: there is none.
 */
export function askKey(refused) {
  const dialog = byId("key-dialog");
  const input = byId("key");
  const why = byId("key-why");
  why.textContent = refused ? "The server refused that key. It may be mistyped, revoked or past its date." : "This server answers those who have a key.";
  why.classList.toggle("wrong", refused);
  input.value = "";
  return new Promise((resolve) => {
    const controller = new AbortController();
    const { signal } = controller;
    const end = (key) => {
      controller.abort();
      input.value = "";
      dialog.close();
      resolve(key);
    };
    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const key = input.value.trim();
      if (isKey(key)) end(key);
      else {
        why.textContent = "A key has letters, digits and signs only, and no spaces between.";
        why.classList.add("wrong");
      }
    }, { signal });
    byId("key-cancel").addEventListener("click", () => end(null), { signal });
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      end(null);
    }, { signal });
    dialog.showModal();
    input.focus();
  });
}

/** Whether single letters are keys; people who dictate may not want that. */
export function lettersAreKeys() {
  return byId("letters").checked;
}

/** Sets up help. */
export class Help {
  /** @param {Api} api Whose key can be forgotten. */
  constructor(api) {
    this.api = api;
    this.dialog = byId("help");
    const letters = byId("letters");
    try {
      letters.checked = localStorage.getItem(LETTERS) !== "off";
    } catch {
      // the browser keeps nothing
    }
    letters.addEventListener("change", () => {
      try {
        localStorage.setItem(LETTERS, letters.checked ? "on" : "off");
      } catch {
        // it holds until the page is closed
      }
    });
    byId("help-button").addEventListener("click", () => this.open());
    byId("help-close").addEventListener("click", () => this.dialog.close());
    byId("forget-key").addEventListener("click", () => {
      this.api.keepKey(null);
      byId("forget-key").hidden = true;
      byId("help-close").focus();
    });
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
  }

  open() {
    if (this.dialog.open) return;
    byId("forget-key").hidden = !this.api.hasKey;
    this.dialog.showModal();
  }
}
