/** The tenant's alerts: firing ones first, the most severe of them on top. */

import { clip, data, h, icon, reconcile, setAttr, setData, setText } from "../dom.js";
import { ago, dateTime, duration } from "../format.js";
import { choice, empty, section, skeleton } from "./parts.js";

/** @typedef {import("../types.js").Alert} Alert */

const SEVERITIES = ["critical", "warning", "info"];
const LEVELS = new Map([
  ["critical", "bad"],
  ["warning", "warn"],
  ["info", "info"],
]);

/** Labels shown of one alert; a hostile one may have thousands. */
const MAX_LABELS = 12;

/** Rows shown at once. */
const MAX_ROWS = 100;

/**
 * @param {import("../live.js").TenantLive} live
 * @param {import("../main.js").App} app
 * @param {import("../store.js").Scope} scope
 * @returns {HTMLElement}
 */
export function alertsView(live, app, scope) {
  let wanted = "firing";
  /** @type {Set<string>|null} Firing alerts that were told of already. */
  let told = null;
  const filter = choice(
    "Alerts to show",
    [
      ["firing", "Firing"],
      ["resolved", "Resolved"],
      ["all", "All"],
    ],
    (value) => {
      wanted = value;
      show();
    },
  );
  filter.set(wanted);
  const list = h("ul", { class: "alerts" });
  const waiting = skeleton("rows");
  const nothing = h("div");
  const { node, body } = section("Alerts", "alerts-card", filter.node);
  body.append(list, waiting, nothing);

  function show() {
    const { alerts, error } = live.store.state;
    waiting.hidden = Boolean(alerts) || Boolean(error);
    if (!alerts) return;
    const all = [...alerts.values()];
    const firing = all.filter((alert) => alert.state === "firing");
    const shown =
      wanted === "all" ? all : wanted === "firing" ? firing : all.filter((alert) => alert.state !== "firing");
    filter.label("firing", `Firing ${firing.length || ""}`.trim());
    reconcile(
      list,
      shown.sort(byUrgency).slice(0, MAX_ROWS),
      (alert) => alert.id,
      (alert) => row(alert, app.clock),
    );
    list.hidden = !shown.length;
    if (shown.length) nothing.replaceChildren();
    else if (!nothing.firstChild || nothing.dataset.of !== wanted) {
      nothing.dataset.of = wanted;
      nothing.replaceChildren(
        wanted === "firing"
          ? h("p", { class: "calm" }, icon("check"), "No alert is firing.")
          : empty("No such alerts.", "Rules are set by alert_thresholds in a collector's configuration."),
      );
    }
  }

  /** Tell those who do not see the list of what has begun to fire. */
  function announce() {
    const { alerts } = live.store.state;
    if (!alerts) return;
    const firing = [...alerts.values()].filter((alert) => alert.state === "firing");
    const fresh = told ? firing.filter((alert) => !told?.has(alert.id)) : [];
    told = new Set(firing.map((alert) => alert.id));
    if (fresh.length === 1) app.announce(`${clip(fresh[0].severity, 20)} alert: ${clip(fresh[0].summary)}`);
    else if (fresh.length) app.announce(`${fresh.length} new alerts are firing.`);
  }

  scope.add(
    live.store.on("alerts", () => {
      show();
      announce();
    }),
  );
  scope.add(live.store.on("error", show));
  scope.add(app.onTick(show));
  return node;
}

/**
 * @param {Alert} a
 * @param {Alert} b
 */
function byUrgency(a, b) {
  if (a.state !== b.state) return a.state === "firing" ? -1 : 1;
  if (a.state === "firing") {
    const severity = SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity);
    if (severity) return severity;
  }
  return (b.ended ?? b.started) - (a.ended ?? a.started) || (a.id < b.id ? -1 : 1);
}

/**
 * @param {Alert} first
 * @param {import("../clock.js").ServerClock} clock
 */
function row(first, clock) {
  const severity = h("span", { class: "severity" });
  const summary = data("", "alert-summary");
  const when = h("span", { class: "alert-when" });
  const labels = h("span", { class: "labels" });
  const node = h(
    "li",
    {},
    severity,
    h("div", { class: "alert-text" }, summary, h("div", { class: "alert-meta" }, data(first.rule, "rule"), labels)),
    when,
  );
  return {
    node,
    /** @param {Alert} alert */
    update(alert) {
      const firing = alert.state === "firing";
      setAttr(node, "data-level", firing ? (LEVELS.get(alert.severity) ?? "info") : "quiet");
      setText(severity, firing ? clip(alert.severity, 20) : "resolved");
      setData(summary, alert.summary);
      const now = clock.nowUs();
      setText(
        when,
        firing
          ? `since ${ago(alert.started, now).replace(" ago", "")}`
          : `${ago(alert.ended, now)}, lasted ${duration(((alert.ended ?? now) - alert.started) / 1e6)}`,
      );
      setAttr(when, "title", `${dateTime(alert.started)}${alert.ended ? ` to ${dateTime(alert.ended)}` : ""}`);
      const entries = Object.entries(alert.labels ?? {});
      const chips = entries.slice(0, MAX_LABELS).map(([key, value]) => `${clip(key, 60)}=${clip(value, 80)}`);
      if (entries.length > MAX_LABELS) chips.push(`${entries.length - MAX_LABELS} more`);
      reconcile(
        labels,
        chips,
        (text) => text,
        (text) => ({ node: h("bdi", { class: "chip" }, text), update() {} }),
      );
    },
  };
}
