/** All tenants at a glance: who sends how much, whether the ledger balances, what fails and what fires. */

import { drawSparkline } from "../charts.js";
import { data, h, icon, reconcile, setAttr, setText } from "../dom.js";
import { duration, eventRate, integer } from "../format.js";
import { SPARK_S } from "../rates.js";
import { formatRoute } from "../route.js";
import { Scope } from "../store.js";
import { balanceMark, empty, imbalance, skeleton, sparkline, tile } from "./parts.js";

/** @typedef {import("../types.js").TenantSummary} Summary */

const NUMERIC = new Set(["Events/s", "Freshness"]);

/** @type {Record<string, (a: Summary, b: Summary) => number>} */
const ORDERS = {
  attention: (a, b) => trouble(b) - trouble(a),
  name: () => 0,
  rate: (a, b) => (b.events_per_second ?? -1) - (a.events_per_second ?? -1),
  freshness: (a, b) => (b.freshness_seconds ?? -1) - (a.freshness_seconds ?? -1),
};

/**
 * @param {Summary} tenant
 * @returns {number}
 */
function trouble(tenant) {
  return (imbalance(tenant.ledger) ? 4 : 0) + (tenant.alerts.firing ? 2 : 0) + (tenant.collectors.failing ? 1 : 0);
}

/**
 * @param {HTMLElement} root
 * @param {import("../main.js").App} app
 * @returns {Scope}
 */
export function overviewView(root, app) {
  const scope = new Scope();
  const tiles = {
    rate: tile("Events per second"),
    ledger: tile("Ledger"),
    collectors: tile("Collectors"),
    alerts: tile("Alerts"),
  };
  const filter = /** @type {HTMLInputElement} */ (
    h("input", { type: "search", placeholder: "Filter tenants", "aria-label": "Filter tenants", oninput: () => show() })
  );
  const order = /** @type {HTMLSelectElement} */ (
    h(
      "select",
      { "aria-label": "Order of tenants", onchange: () => show() },
      h("option", { value: "attention" }, "Needs attention first"),
      h("option", { value: "name" }, "By name"),
      h("option", { value: "rate" }, "By event rate"),
      h("option", { value: "freshness" }, "Stalest first"),
    )
  );
  const count = h("span", { class: "muted", role: "status" });
  const rows = h("tbody", { role: "rowgroup" });
  const columnNames = ["Tenant", "Events/s", "Trend", "Ledger", "Freshness", "Collectors", "Alerts"];
  const head = (/** @type {string} */ name) =>
    h("th", { role: "columnheader", scope: "col", class: NUMERIC.has(name) ? "number" : null }, name);
  const table = h(
    "table",
    { class: "tenants", role: "table", "aria-label": "Tenants" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...columnNames.map(head))),
    rows,
  );
  const nothing = h("div", {});
  const waiting = skeleton("rows");

  root.replaceChildren(
    h(
      "div",
      { class: "view-head" },
      h("h1", {}, "Tenants"),
      count,
      h("div", { class: "spacer" }),
      h("div", { class: "search" }, icon("search"), filter),
      order,
    ),
    h("div", { class: "tiles" }, tiles.rate.node, tiles.ledger.node, tiles.collectors.node, tiles.alerts.node),
    h("div", { class: "card flush" }, table, waiting, nothing),
  );

  function show() {
    const { overview, overviewError } = app.store.state;
    table.hidden = !overview?.tenants.length;
    waiting.hidden = Boolean(overview) || Boolean(overviewError);
    if (!overview) {
      nothing.replaceChildren(...(overviewError ? [empty("The overview is not available.", overviewError)] : []));
      return;
    }
    const wanted = filter.value.trim().toLowerCase();
    const tenants = overview.tenants
      .filter((tenant) => tenant.id.toLowerCase().includes(wanted))
      .sort((a, b) => ORDERS[order.value](a, b) || (a.id < b.id ? -1 : 1));
    reconcile(
      rows,
      tenants,
      (tenant) => tenant.id,
      (tenant) => row(app, tenant),
    );
    setText(count, wanted ? `${tenants.length} of ${overview.tenants.length}` : integer(overview.tenants.length));
    showTiles(overview.tenants);
    void drawPast(tenants.map(({ id }) => id));
    if (!overview.tenants.length) {
      nothing.replaceChildren(
        empty("No tenants yet.", "Create one, or see the page at work: ", h("code", {}, "collectors simulate")),
      );
    } else if (!tenants.length) {
      nothing.replaceChildren(empty("No tenant matches.", "Change or clear the filter."));
    } else {
      nothing.replaceChildren();
    }
  }

  /** @param {string[]} tenants */
  async function drawPast(tenants) {
    const filled = await app.rates.fill(app.api, app.clock.nowUs(), tenants, scope.signal);
    if (filled && !scope.signal.aborted) show();
  }

  /** @param {Summary[]} tenants */
  function showTiles(tenants) {
    const sum = (/** @type {(tenant: Summary) => number} */ of) => tenants.reduce((total, one) => total + of(one), 0);
    const unbalanced = tenants.filter((tenant) => imbalance(tenant.ledger));
    const off = unbalanced.reduce((total, one) => total + Math.abs(imbalance(one.ledger)), 0);
    const failing = sum((tenant) => tenant.collectors.failing);
    const running = `${integer(sum((tenant) => tenant.collectors.running))} running`;
    const firing = sum((tenant) => tenant.alerts.firing);
    tiles.rate.set(
      eventRate(sum((tenant) => tenant.events_per_second ?? 0)),
      `${integer(sum((tenant) => tenant.ledger.offered))} offered in all`,
    );
    tiles.ledger.set(
      off
        ? h("span", { class: "mark bad" }, icon("cross"), `off by ${integer(off)}`)
        : h("span", { class: "mark ok" }, icon("check"), "balanced"),
      off ? `in ${countOf(unbalanced.length, "tenant")}` : "every event is accounted for",
    );
    if (failing) tiles.collectors.set(`${integer(failing)} failing`, running, "warn");
    else tiles.collectors.set(running, "none failing");
    const affected = tenants.filter((tenant) => tenant.alerts.firing).length;
    tiles.alerts.set(
      firing ? `${integer(firing)} firing` : "none firing",
      firing ? `in ${countOf(affected, "tenant")}` : "all quiet",
      firing ? "bad" : "",
    );
  }

  scope.add(app.store.on("overview", show));
  scope.add(app.store.on("overviewError", show));
  return scope;
}

/**
 * @param {import("../main.js").App} app
 * @param {Summary} first
 */
function row(app, first) {
  const { id } = first;
  const route = { ...app.store.state.route, tenant: id, zoom: null, pins: null };
  const open = (/** @type {MouseEvent} */ event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    app.navigate({ tenant: id, zoom: null, pins: null });
  };
  const line = sparkline();
  const cells = {
    rate: cell("Events/s", "number"),
    trend: cell("Trend", "trend"),
    ledger: cell("Ledger", ""),
    freshness: cell("Freshness", "number"),
    collectors: cell("Collectors", ""),
    alerts: cell("Alerts", ""),
  };
  const running = h("span");
  const failing = h("span", { class: "failing" });
  cells.collectors.append(h("span", {}, running, failing));
  cells.trend.append(line);
  const node = h(
    "tr",
    { role: "row", "data-tenant": id },
    h(
      "th",
      { role: "rowheader", scope: "row" },
      h("a", { href: formatRoute(route), onclick: open }, data(id, "tenant-id")),
    ),
    ...Object.values(cells),
  );
  return {
    node,
    /** @param {Summary} tenant */
    update(tenant) {
      const { collectors, alerts } = tenant;
      setText(cells.rate, eventRate(tenant.events_per_second));
      drawSparkline(line, app.rates.get(id), SPARK_S);
      const mark = balanceMark(tenant.ledger);
      if (cells.ledger.textContent !== mark.textContent) cells.ledger.replaceChildren(mark);
      setAttr(cells.ledger, "title", ledgerText(tenant.ledger));
      setText(cells.freshness, duration(tenant.freshness_seconds));
      setText(running, `${integer(collectors.running)} running`);
      setText(failing, collectors.failing ? `, ${integer(collectors.failing)} failing` : "");
      setText(cells.alerts, alerts.firing ? `${alerts.firing} firing` : "none");
      setAttr(cells.alerts, "data-level", alerts.firing ? "bad" : "quiet");
    },
  };
}

/**
 * @param {string} name  Shown beside the value where there is no room for a table's head.
 * @param {string} className
 */
function cell(name, className) {
  return h("td", { role: "cell", class: className, "data-name": name });
}

/** @param {import("../types.js").LedgerCounts} counts */
function ledgerText(counts) {
  const { offered, stored, duplicate, rejected, dropped, in_flight: inFlight } = counts;
  const parts = [`${integer(stored)} stored`, `${integer(duplicate)} duplicate`, `${integer(rejected)} rejected`];
  parts.push(`${integer(dropped)} dropped`, `${integer(inFlight)} in flight`);
  return `${integer(offered)} offered = ${parts.join(" + ")}`;
}

/**
 * @param {number} count
 * @param {string} thing
 */
function countOf(count, thing) {
  return `${integer(count)} ${thing}${count === 1 ? "" : "s"}`;
}
