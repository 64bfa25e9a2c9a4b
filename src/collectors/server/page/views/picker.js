/** Choosing the metrics to chart: all that the server lists, by collector, with a search. */

import { clip, data, h, icon, setText } from "../dom.js";
import { integer, unitName } from "../format.js";
import { MAX_PINS } from "../route.js";
import { empty } from "./parts.js";

/** Metrics listed at once; the search finds the others. */
const MAX_LISTED = 250;

/**
 * @param {object} options
 * @param {() => import("../types.js").Metric[]} options.metrics
 * @param {() => string[]} options.pins
 * @param {(pins: string[]) => void} options.onChange
 * @returns {{node: HTMLElement, open: () => void, refresh: () => void}}  `refresh` once the metrics have changed.
 */
export function picker({ metrics, pins, onChange }) {
  const search = /** @type {HTMLInputElement} */ (
    h("input", {
      type: "search",
      placeholder: "Search name, description, unit, label",
      "aria-label": "Search metrics",
      oninput: () => show(),
    })
  );
  const list = h("div", { class: "picker-list", tabindex: "-1" });
  const note = h("p", { class: "muted", role: "status" });
  const dialog = /** @type {HTMLDialogElement} */ (
    h(
      "dialog",
      { class: "picker", "aria-labelledby": "picker-title" },
      h(
        "header",
        { class: "section-head" },
        h("h2", { id: "picker-title" }, "Charts"),
        h(
          "button",
          { class: "ghost", type: "button", "aria-label": "Close", onclick: () => dialog.close() },
          icon("close"),
        ),
      ),
      h("div", { class: "search" }, icon("search"), search),
      note,
      list,
    )
  );
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const stops = [search, ...list.querySelectorAll("input:not(:disabled)")];
    const at = stops.indexOf(/** @type {any} */ (document.activeElement));
    const next = stops[at + (event.key === "ArrowDown" ? 1 : -1)];
    if (!next) return;
    event.preventDefault();
    /** @type {HTMLElement} */ (next).focus();
  });

  let matching = 0;
  /** @type {string[]} Metrics there were when the list was made. */
  let listed = [];

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    listed = metrics().map((metric) => metric.name);
    const found = metrics().filter((metric) => {
      const text =
        `${metric.name} ${metric.description} ${metric.collector} ${unitName(metric.unit)} ${(metric.labels ?? []).join(" ")}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    /** @type {Map<string, import("../types.js").Metric[]>} */
    const groups = new Map();
    for (const metric of found.slice(0, MAX_LISTED)) {
      const group = groups.get(metric.collector);
      if (group) group.push(metric);
      else groups.set(metric.collector, [metric]);
    }
    const sorted = [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
    list.replaceChildren(...sorted.map(([collector, members]) => groupNode(collector, members)));
    if (!metrics().length)
      list.replaceChildren(empty("No metrics yet.", "They appear with the first run of a collector."));
    else if (!found.length) list.replaceChildren(empty("No metric matches.", "Try fewer or other words."));
    matching = found.length;
    showNote();
  }

  function showNote() {
    const cut = matching > MAX_LISTED ? `, the first ${MAX_LISTED} listed` : "";
    const full = pins().length >= MAX_PINS ? "; remove one to add another" : "";
    setText(note, `${integer(matching)} metrics${cut}. ${pins().length} of ${MAX_PINS} charts shown${full}.`);
    for (const input of list.querySelectorAll("input")) input.disabled = Boolean(full) && !input.checked;
  }

  /**
   * @param {string} collector
   * @param {import("../types.js").Metric[]} members
   */
  function groupNode(collector, members) {
    return h(
      "fieldset",
      {},
      h("legend", {}, data(collector), h("span", { class: "muted" }, ` ${members.length}`)),
      ...members.map(entry),
    );
  }

  /** @param {import("../types.js").Metric} metric */
  function entry(metric) {
    const box = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "checkbox",
        checked: pins().includes(metric.name),
        onchange: () => {
          const others = pins().filter((name) => name !== metric.name);
          onChange(box.checked ? [...others, metric.name] : others);
          showNote();
        },
      })
    );
    const facts = [unitName(metric.unit), metric.kind, `${integer(metric.series)} series`];
    return h(
      "label",
      { class: "picker-entry" },
      box,
      h("span", { class: "picker-name" }, data(metric.name)),
      h("span", { class: "picker-facts" }, clip(facts.join(" · "), 120)),
      h("span", { class: "picker-about" }, clip(metric.description, 400)),
    );
  }

  return {
    node: dialog,
    open() {
      search.value = "";
      show();
      dialog.showModal();
      search.focus();
    },
    refresh() {
      if (!dialog.open) return;
      const names = metrics().map((metric) => metric.name);
      if (names.join() !== listed.join()) show();
    },
  };
}
