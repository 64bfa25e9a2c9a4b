/** Small pieces that several views are made of. */

import { h, icon, setAttr, setText, svg } from "../dom.js";
import { integer } from "../format.js";

/**
 * A number with a name.
 *
 * @param {string} name
 * @returns {{node: HTMLElement, set: (value: string|Node, note?: string|Node, level?: string) => void, box: HTMLElement}}
 */
export function tile(name) {
  const value = h("div", { class: "tile-value" });
  const note = h("div", { class: "tile-note" });
  const box = h("div", { class: "tile-extra" });
  const node = h("div", { class: "tile" }, h("div", { class: "tile-name" }, name), value, note, box);
  const put = (/** @type {HTMLElement} */ into, /** @type {string|Node} */ what) => {
    if (typeof what === "string") setText(into, what);
    else if (
      into.textContent !== what.textContent ||
      into.firstElementChild?.className !== /** @type {Element} */ (what).className
    )
      into.replaceChildren(what);
  };
  return {
    node,
    box,
    set(shown, remark = "", level = "") {
      put(value, shown);
      put(note, remark);
      setAttr(node, "data-level", level || null);
    },
  };
}

/**
 * Whether every offered event is accounted for, by the server's word and by our own addition.
 *
 * @param {import("../types.js").LedgerCounts} counts
 * @returns {number}  Events that are unaccounted for (positive) or counted too often (negative); 0 is balanced.
 */
export function imbalance(counts) {
  const found = counts.stored + counts.duplicate + counts.rejected + counts.dropped + counts.in_flight;
  return counts.balance || counts.offered - found || 0;
}

/**
 * The ledger's verdict: a tick or a cross, in words too.
 *
 * @param {import("../types.js").LedgerCounts|null|undefined} counts
 * @returns {HTMLElement}
 */
export function balanceMark(counts) {
  if (!counts) return h("span", { class: "mark" }, "—");
  if (!counts.offered) return h("span", { class: "mark quiet" }, "no events");
  const off = imbalance(counts);
  if (off === 0) return h("span", { class: "mark ok" }, icon("check"), "balanced");
  return h("span", { class: "mark bad" }, icon("cross"), `off by ${integer(off)}`);
}

/** @returns {SVGElement} An empty sparkline for `drawSparkline`. */
export function sparkline() {
  return svg(
    "svg",
    { class: "sparkline", "aria-hidden": "true", focusable: "false" },
    svg("polygon", {}),
    svg("polyline", {}),
  );
}

/**
 * What stands where there is nothing to show: what that means, and what to do.
 *
 * @param {string} title
 * @param {...(Node|string)} advice
 * @returns {HTMLElement}
 */
export function empty(title, ...advice) {
  return h("div", { class: "empty" }, h("strong", {}, title), h("p", {}, ...advice));
}

/**
 * A place that waits for its content.
 *
 * @param {string} className
 * @returns {HTMLElement}
 */
export function skeleton(className) {
  return h("div", { class: `skeleton ${className}`, "aria-hidden": "true" });
}

/**
 * One choice of several, as radio buttons that look like one control.
 *
 * @param {string} name  Of the whole, for those who do not see it.
 * @param {[string, string][]} options  Value and text.
 * @param {(value: string) => void} onChoose
 * @returns {{node: HTMLElement, set: (value: string|null) => void, label: (value: string, text: string) => void}}
 */
export function choice(name, options, onChoose) {
  const group = `choice-${++choices}`;
  const node = h("fieldset", { class: "choice" }, h("legend", { class: "sr-only" }, name));
  /** @type {Map<string, {input: HTMLInputElement, text: HTMLElement}>} */
  const entries = new Map();
  for (const [value, label] of options) {
    const input = /** @type {HTMLInputElement} */ (
      h("input", { type: "radio", name: group, value, onchange: () => onChoose(value) })
    );
    const text = h("span", {}, label);
    entries.set(value, { input, text });
    node.append(h("label", {}, input, text));
  }
  return {
    node,
    set(value) {
      for (const [key, { input }] of entries) input.checked = key === value;
    },
    label(value, text) {
      const entry = entries.get(value);
      if (entry) setText(entry.text, text);
    },
  };
}

let choices = 0;

/**
 * A titled part of the page.
 *
 * @param {string} title
 * @param {string} className
 * @param {...(Node|null)} tools  Shown at the right of the title.
 * @returns {{node: HTMLElement, body: HTMLElement}}
 */
export function section(title, className, ...tools) {
  const id = `section-${++sections}`;
  const body = h("div", { class: "section-body" });
  const node = h(
    "section",
    { class: `card ${className}`, "aria-labelledby": id },
    h("header", { class: "section-head" }, h("h2", { id }, title), h("div", { class: "section-tools" }, ...tools)),
    body,
  );
  return { node, body };
}

let sections = 0;
