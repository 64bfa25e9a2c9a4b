/** The legend of a chart: which line is what, its value, and the series that are not drawn. */

import { clip, data, h, reconcile, setAttr, setText } from "../dom.js";
import { integer } from "../format.js";

/** @typedef {import("../series.js").Series} Series */
/** @typedef {{series: Series, label: string, value: string, slot: number|undefined}} Entry */

/**
 * @param {(key: string) => void} onToggle  Called with the series that is to be drawn, or not any more.
 */
export function legend(onToggle) {
  let open = false;
  let again = () => {};
  const list = h("ul", { class: "legend" });
  const more = h("button", {
    class: "link",
    type: "button",
    onclick: () => {
      open = !open;
      again();
    },
  });

  /**
   * @param {Series[]} ranked  All series that are kept, largest first.
   * @param {Map<string, number>} slots  Colour slots of those that are drawn.
   * @param {(series: Series) => string} text  The value of a series.
   * @param {number} unkept  How many further series exist.
   */
  function show(ranked, slots, text, unkept) {
    again = () => show(ranked, slots, text, unkept);
    // A single series without labels is told by the heading alone.
    const plain = ranked.length <= 1 && unkept === 0 && !Object.keys(ranked[0]?.labels ?? {}).length;
    const drawn = ranked.filter((series) => slots.has(series.key));
    const rest = ranked.filter((series) => !slots.has(series.key));
    const keys = distinguishing(ranked);
    const entries = (plain ? [] : open ? [...drawn, ...rest] : drawn).map((series) => ({
      series,
      label: labelText(series.labels, keys),
      value: text(series),
      slot: slots.get(series.key),
    }));
    reconcile(
      list,
      entries,
      ({ series }) => series.key,
      (entry) => row(entry, onToggle),
    );
    const hidden = rest.length + unkept;
    more.hidden = hidden === 0;
    setAttr(more, "aria-expanded", String(open));
    const beyond = unkept ? ` (${integer(unkept)} smaller ones are not loaded)` : "";
    setText(more, open ? `Show fewer${beyond}` : `${integer(hidden)} more`);
  }

  return { node: h("div", { class: "legend-box" }, list, more), show };
}

/**
 * @param {Entry} first
 * @param {(key: string) => void} onToggle
 */
function row({ series }, onToggle) {
  const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
  const name = data("");
  const value = h("span", { class: "legend-value" });
  const whole = Object.entries(series.labels).map(([key, text]) => `${key}=${text}`);
  const title = clip(whole.join(", "), 800);
  const button = h("button", { type: "button", title, onclick: () => onToggle(series.key) }, swatch, name);
  return {
    node: h("li", {}, button, value),
    /** @param {Entry} entry */
    update(entry) {
      setText(name, clip(entry.label, 80));
      setText(value, entry.value);
      setAttr(swatch, "data-slot", entry.slot === undefined ? null : String(entry.slot + 1));
      setAttr(button, "aria-pressed", String(entry.slot !== undefined));
    },
  };
}

/**
 * The labels that tell the series apart; those that are the same everywhere only cost room.
 *
 * @param {Series[]} series
 * @returns {string[]}
 */
function distinguishing(series) {
  const keys = [...new Set(series.flatMap((one) => Object.keys(one.labels)))];
  const differing = keys.filter((key) => new Set(series.map((one) => one.labels[key])).size > 1);
  return differing.length ? differing : keys;
}

/**
 * @param {Record<string, string>} labels
 * @param {string[]} keys
 */
function labelText(labels, keys) {
  return keys.map((key) => labels[key] || "(none)").join(" · ") || "(no labels)";
}
