/** One tenant: its state in figures, what fires, its charts, its ledger and its collectors. */

import { drawSparkline } from "../charts.js";
import { data, h, icon, reconcile } from "../dom.js";
import { dateTime, duration, eventRate, integer } from "../format.js";
import { defaultPins, RATE_METRIC } from "../defaults.js";
import { TenantLive } from "../live.js";
import { SPARK_S } from "../rates.js";
import { RANGES } from "../route.js";
import { Scope } from "../store.js";
import { alertsView } from "./alerts.js";
import { collectorsView } from "./collectors.js";
import { ledgerView } from "./ledger.js";
import { Panel } from "./panel.js";
import { balanceMark, choice, empty, imbalance, skeleton, sparkline, tile } from "./parts.js";
import { picker } from "./picker.js";
import { metricSource, rateSource } from "./sources.js";

/**
 * @param {HTMLElement} root
 * @param {import("../main.js").App} app
 * @param {string} tenant
 * @returns {{scope: Scope, live: TenantLive, route: () => void}}
 */
export function tenantView(root, app, tenant) {
  const scope = new Scope();
  const live = new TenantLive(tenant, app.api, app.clock);
  const problem = h("div", { class: "problem", role: "alert", hidden: true });
  const board = new Board(app, live, scope);

  root.replaceChildren(
    heading(app, tenant, scope, board),
    problem,
    figures(app, live, scope),
    h("div", { class: "lead" }, board.lead, alertsView(live, app, scope)),
    board.node,
    ledgerView(live, scope),
    collectorsView(live, app, scope),
    board.picker.node,
  );

  scope.add(
    live.store.on("error", (error) => {
      problem.hidden = !error;
      problem.replaceChildren(
        h("span", {}, error),
        h("button", { type: "button", onclick: () => void live.refresh() }, "Try again"),
      );
    }),
  );
  scope.add(() => live.stop());
  live.start();
  return { scope, live, route: () => board.route() };
}

/**
 * The tenant's name, and what is chosen for the whole view.
 *
 * @param {import("../main.js").App} app
 * @param {string} tenant
 * @param {Scope} scope
 * @param {Board} board
 */
function heading(app, tenant, scope, board) {
  const about = h("span", { class: "muted" });
  const ranges = choice(
    "Time range",
    [...RANGES.keys()].map((key) => [key, key]),
    (range) => app.navigate({ range, zoom: null }),
  );
  const zoom = h("button", { class: "chip-button", type: "button", onclick: () => app.navigate({ zoom: null }) });
  scope.add(
    app.store.on("tenants", (tenants) => {
      const facts = tenants?.find((one) => one.id === tenant);
      about.replaceChildren(...(facts ? [data(facts.time_zone), " · ", data(facts.currency)] : []));
    }),
  );
  scope.add(
    app.store.on("route", (route) => {
      ranges.set(route.zoom ? null : route.range);
      zoom.hidden = !route.zoom;
      if (!route.zoom) return;
      const [from, to] = [dateTime(route.zoom.from * 1e6), dateTime(route.zoom.to * 1e6)];
      zoom.replaceChildren(`${from} – ${to.slice(0, 10) === from.slice(0, 10) ? to.slice(11) : to}`, icon("close"));
      zoom.setAttribute("aria-label", `Showing ${from} to ${to}. Back to the live range.`);
    }),
  );
  return h(
    "div",
    { class: "view-head sticky" },
    h("h1", {}, data(tenant)),
    about,
    h("div", { class: "spacer" }),
    zoom,
    ranges.node,
    h("button", { class: "primary", type: "button", onclick: () => board.picker.open() }, icon("plus"), "Charts"),
  );
}

/**
 * The tenant's state in five figures, from the stream, or from the overview as long as the stream is silent.
 *
 * @param {import("../main.js").App} app
 * @param {TenantLive} live
 * @param {Scope} scope
 */
function figures(app, live, scope) {
  const tiles = {
    rate: tile("Events per second"),
    freshness: tile("Freshness"),
    ledger: tile("Ledger"),
    collectors: tile("Collectors"),
    alerts: tile("Alerts"),
  };
  const line = sparkline();
  tiles.rate.box.append(line);

  const show = () => {
    const { flow, ledger, collectors, alerts } = live.store.state;
    const summary = app.store.state.overview?.tenants.find((one) => one.id === live.tenant);
    const rate = flow?.rate ?? summary?.events_per_second;
    const freshness = flow ? flow.freshness : summary?.freshness_seconds;
    const counts = ledger?.total ?? summary?.ledger;
    const failing = collectors?.filter((one) => one.state === "failing").length ?? summary?.collectors.failing ?? 0;
    const running = collectors?.filter((one) => one.state === "running").length ?? summary?.collectors.running ?? 0;
    const firing = alerts ? [...alerts.values()].filter((one) => one.state === "firing") : [];
    const firingCount = alerts ? firing.length : (summary?.alerts.firing ?? 0);
    const critical = firing.filter((one) => one.severity === "critical").length;

    tiles.rate.set(eventRate(rate), counts ? `${integer(counts.offered)} offered` : "");
    drawSparkline(line, app.rates.get(live.tenant), SPARK_S);
    tiles.freshness.set(duration(freshness), freshness === null ? "not known" : "oldest event still to load");
    tiles.ledger.set(
      balanceMark(counts),
      counts ? `${integer(counts.in_flight)} in flight` : "",
      counts && imbalance(counts) ? "bad" : "",
    );
    if (failing) tiles.collectors.set(`${integer(failing)} failing`, `${integer(running)} running`, "warn");
    else tiles.collectors.set(`${integer(running)} running`, "none failing");
    tiles.alerts.set(
      firingCount ? `${integer(firingCount)} firing` : "none firing",
      critical ? `${integer(critical)} critical` : "",
      firingCount ? (critical || !alerts ? "bad" : "warn") : "",
    );
  };
  scope.add(app.store.on("overview", show));
  scope.add(
    live.store.on("metrics", async (metrics) => {
      if (metrics && (await app.rates.fill(app.api, app.clock.nowUs(), [live.tenant], scope.signal))) show();
    }),
  );
  for (const field of /** @type {const} */ (["ledger", "collectors", "alerts"])) scope.add(live.store.on(field, show));
  scope.add(
    live.store.on("flow", (flow) => {
      if (flow) app.rates.add(live.tenant, flow.time, flow.rate);
      show();
    }),
  );
  return h("div", { class: "tiles" }, ...Object.values(tiles).map((one) => one.node));
}

/** The charts: the event rate, and those that are pinned. */
class Board {
  /**
   * @param {import("../main.js").App} app
   * @param {TenantLive} live
   * @param {Scope} scope
   */
  constructor(app, live, scope) {
    this.app = app;
    this.live = live;
    this.lead = h("div", { class: "lead-chart" }, skeleton("panel-skeleton"));
    this.grid = h("div", { class: "grid" });
    this.nothing = h("div", { class: "remarks" });
    this.node = h("section", { "aria-label": "Charts" }, this.grid, this.nothing);
    /** @type {Map<string, Panel>} */
    this.panels = new Map();
    /** @type {Panel|null} */
    this.rate = null;
    this.shownWindow = this.#windowName();
    this.picker = picker({
      metrics: () => live.store.state.metrics ?? [],
      pins: () => this.pins(),
      onChange: (pins) => app.navigate({ pins }, { replace: true }),
    });
    scope.add(
      live.store.on("metrics", () => {
        this.#arrange();
        this.picker.refresh();
      }),
    );
    scope.add(live.store.on("error", () => this.#arrange()));
    scope.add(live.onResume(() => this.#reload()));
    scope.add(
      app.onTick(() => {
        for (const panel of this.#all()) panel.tick();
      }),
    );
    scope.add(() => {
      for (const panel of this.#all()) panel.destroy();
    });
  }

  /** @returns {string[]} Names of the metrics to chart. */
  pins() {
    const { pins } = this.app.store.state.route;
    return pins ?? defaultPins(this.live.tenant, this.live.store.state.metrics ?? []);
  }

  /** Show what the changed address asks for. */
  route() {
    this.#arrange();
    const name = this.#windowName();
    if (name !== this.shownWindow) this.#reload();
    this.shownWindow = name;
  }

  #windowName() {
    const { range, zoom } = this.app.store.state.route;
    return zoom ? `${zoom.from}-${zoom.to}` : range;
  }

  #window() {
    const { range, zoom } = this.app.store.state.route;
    if (zoom) return zoom;
    const to = this.app.clock.nowUs() / 1e6;
    return { from: to - (RANGES.get(range) ?? 3_600), to };
  }

  #all() {
    return [...(this.rate ? [this.rate] : []), ...this.panels.values()];
  }

  #reload() {
    for (const panel of this.#all()) void panel.load();
  }

  #arrange() {
    const { metrics, error } = this.live.store.state;
    if (!metrics) {
      if (!error && !this.grid.firstChild)
        this.nothing.replaceChildren(
          h("div", { class: "grid" }, ...Array.from({ length: 4 }, () => skeleton("panel-skeleton"))),
        );
      else if (error) this.nothing.replaceChildren();
      return;
    }
    const byName = new Map(metrics.map((metric) => [metric.name, metric]));
    if (!this.rate) this.#showRate(byName.get(RATE_METRIC));
    const pins = this.pins();
    for (const [name, panel] of this.panels) {
      if (pins.includes(name)) continue;
      panel.destroy();
      this.panels.delete(name);
    }
    const known = pins.filter((name) => byName.has(name));
    reconcile(
      this.grid,
      known,
      (name) => name,
      (name) => {
        const panel = this.#panel(metricSource(this.live, /** @type {any} */ (byName.get(name))), () =>
          this.#unpin(name),
        );
        this.panels.set(name, panel);
        void panel.load();
        return { node: panel.node, update() {} };
      },
    );
    this.nothing.replaceChildren(
      ...this.#remarks(
        metrics,
        pins.filter((name) => !byName.has(name)),
        known,
      ),
    );
  }

  /**
   * @param {import("../types.js").Metric[]} metrics
   * @param {string[]} unknown
   * @param {string[]} known
   * @returns {HTMLElement[]}
   */
  #remarks(metrics, unknown, known) {
    if (!metrics.length) {
      return [
        h(
          "div",
          { class: "card" },
          empty("No metrics yet.", "They appear with the first run of this tenant's collectors."),
        ),
      ];
    }
    const remarks = unknown.map((name) =>
      h(
        "div",
        { class: "note" },
        data(name),
        " has no samples for this tenant.",
        h("button", { class: "link", type: "button", onclick: () => this.#unpin(name) }, "Remove"),
      ),
    );
    if (!known.length) {
      remarks.push(
        h(
          "div",
          { class: "card" },
          empty(
            "No charts are shown.",
            h("button", { type: "button", onclick: () => this.picker.open() }, "Choose metrics"),
          ),
        ),
      );
    }
    return remarks;
  }

  /** @param {import("../types.js").Metric|undefined} metric */
  #showRate(metric) {
    const source = rateSource(this.live, this.app.rates, metric);
    this.rate = this.#panel(source, null);
    this.lead.replaceChildren(this.rate.node);
    void this.rate.load();
  }

  /** @param {string} name */
  #unpin(name) {
    this.app.navigate({ pins: this.pins().filter((pin) => pin !== name) }, { replace: true });
  }

  /**
   * @param {import("./sources.js").Source} source
   * @param {(() => void)|null} onUnpin
   */
  #panel(source, onUnpin) {
    return new Panel(source, {
      window: () => this.#window(),
      live: () => this.app.store.state.route.zoom === null,
      onSelect: (from, to) => {
        const middle = (from + to) / 2;
        const half = Math.max(10, (to - from) / 2);
        this.app.navigate({ zoom: { from: Math.floor(middle - half), to: Math.ceil(middle + half) } });
      },
      onUnpin,
    });
  }
}
