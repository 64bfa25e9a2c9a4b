/** Building the document: every value becomes a text node or an attribute, never markup. */

const SVG = "http://www.w3.org/2000/svg";

/** Longest text that is shown whole; a hostile label may have any length. */
const MAX_TEXT = 200;

/**
 * Create an HTML element. Properties that start with `on` are event listeners, others attributes; null, undefined
 * and false leave an attribute out.
 *
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node|string|number|null|undefined)} children
 * @returns {HTMLElement}
 */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/**
 * Create an SVG element, as `h` does for HTML.
 *
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node|string)} children
 * @returns {SVGElement}
 */
export function svg(tag, props = {}, ...children) {
  return fill(/** @type {SVGElement} */ (document.createElementNS(SVG, tag)), props, children);
}

/**
 * @template {Element} E
 * @param {E} node
 * @param {Record<string, any>} props
 * @param {(Node|string|number|null|undefined)[]} children
 * @returns {E}
 */
function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined) node.append(typeof child === "number" ? String(child) : child);
  }
  return node;
}

/**
 * Show a value that came from outside: isolated from the direction of the text around it, and bounded in length.
 *
 * @param {string} value
 * @param {string} [className]
 * @returns {HTMLElement}
 */
export function data(value, className) {
  const node = h("bdi", { class: className });
  setData(node, value);
  return node;
}

/**
 * Change what `data` shows.
 *
 * @param {Element} node
 * @param {string} value
 */
export function setData(node, value) {
  const shown = clip(value);
  setText(node, shown);
  if (shown !== value) setAttr(node, "title", clip(value, 4 * MAX_TEXT));
  else node.removeAttribute("title");
}

/**
 * Shorten a text and make its control characters visible as spaces.
 *
 * @param {unknown} value
 * @param {number} [length]
 * @returns {string}
 */
export function clip(value, length = MAX_TEXT) {
  const text = String(value ?? "");
  const short = text.length > length ? `${text.slice(0, length - 1)}…` : text;
  return short.replace(/\p{Cc}/gu, " ");
}

/**
 * Set an element's text unless it is the same already, which spares layout and keeps a selection.
 *
 * @param {Element} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Set an attribute unless it is the same already; null removes it.
 *
 * @param {Element} node
 * @param {string} name
 * @param {string|null} value
 */
export function setAttr(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** @type {WeakMap<Element, Map<string, any>>} */
const kept = new WeakMap();

/**
 * Make the children of `parent` show `items`, in order, reusing the element of each key, so that focus, scroll
 * position and selection survive an update.
 *
 * @template T
 * @param {Element} parent
 * @param {Iterable<T>} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => {node: Element, update: (item: T) => void}} create
 */
export function reconcile(parent, items, keyOf, create) {
  const before = kept.get(parent) ?? new Map();
  const wanted = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!wanted.has(key)) wanted.set(key, item);
  }
  // What goes must go first: moving what stays out of its way would take the focus from it.
  for (const [key, row] of before) if (!wanted.has(key)) row.node.remove();
  const after = new Map();
  let place = parent.firstChild;
  for (const [key, item] of wanted) {
    const row = before.get(key) ?? create(item);
    row.update(item);
    after.set(key, row);
    if (place && row.node === place) place = place.nextSibling;
    else parent.insertBefore(row.node, place);
  }
  kept.set(parent, after);
}

/**
 * An icon from the page's own sprite-less set: a path in a 16 × 16 box.
 *
 * @param {keyof typeof ICONS} name
 * @returns {SVGElement}
 */
export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: ICONS[name] }),
  );
}

const ICONS = {
  plus: "M8 3v10M3 8h10",
  close: "M4 4l8 8M12 4l-8 8",
  expand: "M9.5 3H13v3.5M13 3L9 7M6.5 13H3V9.5M3 13l4-4",
  theme: "M8 2.5a5.5 5.5 0 1 0 5.5 5.5A4.2 4.2 0 0 1 8 2.5z",
  back: "M10 3L5 8l5 5",
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  alert: "M8 2.5L14 13H2zM8 6.5v3M8 11.2v.3",
  key: "M10.5 2.5a3 3 0 1 1-2.1 5.1L3 13v.5H1.8V11l5.4-5.3a3 3 0 0 1 3.3-3.2z",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.3 10.3l3.2 3.2",
};
