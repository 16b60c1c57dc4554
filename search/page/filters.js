// Filters as expressions of the API: written, read, and chosen field by field.

import { button, byId, element, fill } from "./elements.js";
import { fieldName, plainKey } from "./fields.js";
import { oneLine } from "./text.js";

const EXPRESSION = /^\s*([^\s=!<>~]+(?: [^\s=!<>~]+)*?)\s*(?:(!=|!~|>=|<=|=|>|<|~)\s*([^]*)|\s(not in|in)\s+([^]*)|\s(exists|missing)\s*)$/;
const PLAIN_KEY = /^[\w.-]+$/;
const STATES = [["exists", "is given"], ["missing", "is not given"]];
const NUMBER = [
  ["=", "is"], ["!=", "is not"], [">=", "is at least"], ["<=", "is at most"],
  [">", "is above"], ["<", "is below"], ["in", "is one of"], ...STATES,
];
const OPERATORS = {
  keyword: [
    ["=", "is"], ["!=", "is not"], ["in", "is one of"], ["not in", "is none of"],
    ["~", "has the words"], ["!~", "lacks the words"], ...STATES,
  ],
  integer: NUMBER,
  float: NUMBER,
  datetime: [
    ["=", "is in"], [">=", "is from"], ["<=", "is up to"], [">", "is after"], ["<", "is before"], ...STATES,
  ],
  text: [["~", "has the words"], ["!~", "lacks the words"]],
};
const HINTS = {
  keyword: "Exactly as it is written.",
  integer: "A whole number.",
  float: "A number.",
  datetime: "A year, a month or a day: 2026, 2026-05, 2026-05-31. UTC.",
  text: "All of the words, in any order.",
  list: "Several, with commas between them.",
};
const WORDS = {
  ...Object.fromEntries(Object.values(OPERATORS).flat()),
  "=": "is", ">=": "≥", "<=": "≤", ">": ">", "<": "<",
};

/** A condition as an expression; as JSON where an expression would be read otherwise. */
export function expression(key, operator, value) {
  const text = String(value ?? "");
  if (operator === "exists" || operator === "missing") {
    return PLAIN_KEY.test(key) ? `${key} ${operator}` : JSON.stringify({ key, op: operator });
  }
  if (operator === "in" || operator === "not in") {
    const values = text.split(",").map((one) => one.trim()).filter(Boolean);
    if (PLAIN_KEY.test(key)) return `${key} ${operator} ${values.join(", ")}`;
    return JSON.stringify({ key, op: operator, value: values });
  }
  if (PLAIN_KEY.test(key) && text !== "" && text.trim() === text) return `${key}${operator}${text}`;
  return JSON.stringify({ key, op: operator, value });
}

/** What an expression says; null where it is more than one condition, or none. */
export function parsed(text) {
  if (/^\s*[{[]/.test(text)) {
    try {
      const { key, op, value } = JSON.parse(text);
      if (typeof key !== "string" || typeof op !== "string") return null;
      return { key, operator: op, value: Array.isArray(value) ? value.join(", ") : String(value ?? "") };
    } catch {
      return null;
    }
  }
  const found = EXPRESSION.exec(text);
  if (!found) return null;
  return {
    key: found[1],
    operator: found[2] ?? found[4] ?? found[6],
    value: (found[3] ?? found[5] ?? "").trim(),
  };
}

/** An expression as people read it. */
export function told(text) {
  const found = parsed(text);
  if (!found) return oneLine(text);
  const key = fieldName(found.key);
  return oneLine(`${key} ${WORDS[found.operator] ?? found.operator} ${found.value}`);
}

/** The expression among some that holds a field to a value; undefined for none. */
export function holding(filters, key, value) {
  return filters.find((one) => {
    const found = parsed(one);
    return found && plainKey(found.key) === plainKey(key) && found.operator === "=" && found.value === String(value).trim();
  });
}

/** The chips of the filters in force. */
export function showFilters(filters, remove) {
  const list = byId("filters");
  list.hidden = filters.length === 0;
  fill(
    list,
    filters.map((one) => {
      const words = told(one);
      return element(
        "li",
        {},
        element("bdi", {}, words),
        button("×", () => remove([one]), { class: "remove", "aria-label": `Remove the filter: ${words}` }),
      );
    }),
    filters.length > 1 && element("li", { class: "bare" }, button("Remove all", () => remove(filters), { class: "plain" })),
  );
}

/** The form with which a filter is put together. */
export class FilterForm {
  /** @param {function(string)} add Gets the expression. */
  constructor(add) {
    this.add = add;
    this.form = byId("filter-form");
    this.opener = byId("add-filter");
    this.field = byId("filter-field");
    this.operator = byId("filter-operator");
    this.value = byId("filter-value");
    this.opener.addEventListener("click", () => this.show(this.form.hidden));
    byId("filter-cancel").addEventListener("click", () => this.show(false));
    this.field.addEventListener("change", () => this.showOperators());
    this.operator.addEventListener("change", () => this.showValue());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.show(false);
    });
    this.setFields([]);
  }

  /** @param {Array<{name: string, type: string}>} fields A collection's. */
  setFields(fields) {
    this.types = new Map(fields.filter(({ type }) => OPERATORS[type]).map(({ name, type }) => [name, type]));
    this.opener.hidden = this.types.size === 0;
    fill(this.field, [...this.types.keys()].map((name) => element("option", { value: name }, fieldName(name))));
    if (this.types.size) this.showOperators();
    else this.form.hidden = true;
  }

  show(open) {
    this.form.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
    (open ? this.field : this.opener).focus();
  }

  get type() {
    return this.types.get(this.field.value);
  }

  showOperators() {
    fill(this.operator, OPERATORS[this.type].map(([sign, words]) => element("option", { value: sign }, words)));
    this.showValue();
  }

  showValue() {
    const operator = this.operator.value;
    const stateless = STATES.some(([sign]) => sign === operator);
    const several = operator === "in" || operator === "not in";
    byId("filter-value-label").hidden = stateless;
    this.value.required = !stateless;
    this.value.inputMode = !several && ["integer", "float"].includes(this.type) ? "decimal" : "text";
    const words = operator === "~" || operator === "!~";
    this.hint(stateless ? "" : HINTS[several ? "list" : words ? "text" : this.type]);
  }

  hint(words, wrong = false) {
    const hint = byId("filter-hint");
    hint.textContent = words;
    hint.classList.toggle("wrong", wrong);
    this.value.setAttribute("aria-invalid", String(wrong));
  }

  submit() {
    const operator = this.operator.value;
    const text = this.value.value.trim();
    const wrong = this.value.required ? this.mistake(operator, text) : "";
    if (wrong) {
      this.hint(wrong, true);
      this.value.focus();
      return;
    }
    this.value.value = "";
    this.show(false);
    this.add(expression(this.field.value, operator, text));
  }

  mistake(operator, text) {
    const values = operator === "in" || operator === "not in" ? text.split(",").map((one) => one.trim()) : [text];
    if (!values.some(Boolean)) return "A value is missing.";
    if (this.type === "integer" && !values.every((one) => !one || /^[+-]?\d+$/.test(one))) return "Expected a whole number, such as 2020.";
    if (this.type === "float" && !values.every((one) => !one || Number.isFinite(Number(one)))) return "Expected a number, such as 0.5.";
    if (this.type === "datetime" && !/^\d{4}(-\d\d(-\d\d.*)?)?$/.test(text)) return "Expected a year, a month or a day, such as 2026-05-31.";
    return "";
  }
}
