/** The state of the tenant's collectors, failing ones first. */

import { clip, data, h, reconcile, setAttr, setData, setText } from "../dom.js";
import { ago, dateTime, duration, integer } from "../format.js";
import { empty, section, skeleton } from "./parts.js";

/** @typedef {import("../types.js").Collector} Collector */

const STATES = ["failing", "starting", "running", "stopped"];
const LEVELS = new Map([
  ["failing", "bad"],
  ["starting", "info"],
  ["running", "ok"],
]);

/**
 * @param {import("../live.js").TenantLive} live
 * @param {import("../main.js").App} app
 * @param {import("../store.js").Scope} scope
 * @returns {HTMLElement}
 */
export function collectorsView(live, app, scope) {
  const names = [
    "Collector",
    "State",
    "Runs",
    "Failures",
    "Issues",
    "Samples",
    "Last success",
    "Took",
    "Late by",
    "Last error",
  ];
  const numeric = new Set(["Runs", "Failures", "Issues", "Samples", "Took", "Late by"]);
  const body = h("tbody");
  const table = h(
    "table",
    { class: "collectors" },
    h(
      "thead",
      {},
      h("tr", {}, ...names.map((name) => h("th", { scope: "col", class: numeric.has(name) ? "number" : null }, name))),
    ),
    body,
  );
  const waiting = skeleton("rows");
  const nothing = h("div");
  const summary = h("span", { class: "muted" });
  const { node, body: inner } = section("Collectors", "collectors-card", summary);
  inner.append(
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "State of the collectors" }, table),
    waiting,
    nothing,
  );

  const show = () => {
    const { collectors, error } = live.store.state;
    waiting.hidden = Boolean(collectors) || Boolean(error);
    table.hidden = !collectors?.length;
    nothing.replaceChildren();
    if (!collectors) return;
    if (!collectors.length) {
      nothing.replaceChildren(empty("No collectors run for this tenant.", "Enable some in its configuration."));
      setText(summary, "");
      return;
    }
    const sorted = [...collectors].sort(
      (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state) || (a.name < b.name ? -1 : 1),
    );
    reconcile(
      body,
      sorted,
      (one) => one.name,
      (one) => row(one, app.clock),
    );
    const counts = STATES.map((state) => [collectors.filter((one) => one.state === state).length, state]);
    setText(
      summary,
      counts
        .filter(([count]) => count)
        .map(([count, state]) => `${count} ${state}`)
        .join(", "),
    );
  };
  scope.add(live.store.on("collectors", show));
  scope.add(live.store.on("error", show));
  scope.add(app.onTick(show));
  return node;
}

/**
 * @param {Collector} first
 * @param {import("../clock.js").ServerClock} clock
 */
function row(first, clock) {
  const state = h("span", { class: "state" });
  const numbers = ["runs", "failures", "issues", "samples"].map(() => h("td", { class: "number" }));
  const success = h("td");
  const took = h("td", { class: "number" });
  const late = h("td", { class: "number" });
  const error = data("", "error-text");
  const node = h(
    "tr",
    {},
    h("th", { scope: "row" }, data(first.name)),
    h("td", {}, state),
    ...numbers,
    success,
    took,
    late,
    h("td", {}, error),
  );
  return {
    node,
    /** @param {Collector} one */
    update(one) {
      setText(state, clip(one.state, 20));
      setAttr(state, "data-level", LEVELS.get(one.state) ?? null);
      [one.runs, one.failures, one.issues, one.samples].forEach((count, index) => {
        setText(numbers[index], integer(count));
        numbers[index].classList.toggle("zero", !count);
      });
      setText(success, ago(one.last_success, clock.nowUs()));
      setAttr(success, "title", dateTime(one.last_success));
      setText(took, one.runs ? duration(one.last_duration_s) : "—");
      setText(late, one.runs ? duration(one.lateness_s) : "—");
      setData(error, one.last_error ?? "");
    },
  };
}
