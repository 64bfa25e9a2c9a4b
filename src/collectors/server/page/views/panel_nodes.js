/** The elements of a chart's panel. */

import { clip, data, h, icon } from "../dom.js";
import { NONE, unitName } from "../format.js";

/**
 * @param {import("./sources.js").Source} source
 * @param {HTMLElement} legend
 * @param {{onEnlarge: () => void, onUnpin: (() => void)|null}} hooks
 */
export function panelNodes(source, legend, { onEnlarge, onUnpin }) {
  const id = `panel-${++panels}`;
  const name = clip(source.name, 80);
  // Seconds per second are shown as the share of time that they are.
  const perSecond = source.unit === "s" ? "share of time" : `${unitName(source.unit)} per second`;
  const unit = clip(source.counter ? perSecond : unitName(source.unit), 40);
  const value = h("span", { class: "latest-value" }, NONE);
  const reason = h("span", { class: "tip", role: "tooltip", id: `${id}-reason` });
  const latest = h("div", { class: "latest" }, value, reason);
  const caption = h("div", { class: "latest-note" });
  const box = h("div", { class: "chart" });
  const message = h("div", { class: "chart-message" });
  const enlarge = button("expand", `Enlarge ${name}`, onEnlarge);
  enlarge.setAttribute("aria-pressed", "false");
  const root = h(
    "article",
    { class: "card panel", "aria-labelledby": id, "data-metric": clip(source.name), "data-state": "loading" },
    h(
      "header",
      { class: "panel-head" },
      h(
        "div",
        { class: "panel-title" },
        h("h2", { id, title: clip(source.name, 800) }, data(source.name)),
        h("p", { title: clip(source.description, 800) }, `${unit} · ${clip(source.description)}`),
      ),
      h("div", { class: "panel-latest" }, latest, caption),
      h("div", { class: "panel-tools" }, enlarge, onUnpin ? button("close", `Remove ${name}`, onUnpin) : null),
    ),
    h("div", { class: "chart-box" }, box, message),
    legend,
  );
  return { root, value, reason, latest, caption, box, message, enlarge };
}

let panels = 0;

/**
 * @param {"expand"|"close"} image
 * @param {string} name
 * @param {() => void} onClick
 */
function button(image, name, onClick) {
  return h(
    "button",
    { class: "ghost", type: "button", "aria-label": name, title: name, onclick: onClick },
    icon(image),
  );
}
