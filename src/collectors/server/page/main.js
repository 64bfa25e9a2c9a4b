/** The live page: puts the parts together and moves between the views. */

import { Api } from "./api.js";
import { ServerClock } from "./clock.js";
import { h, setText } from "./dom.js";
import { OverviewPoller } from "./poller.js";
import { RateHistory } from "./rates.js";
import { formatRoute, parseRoute, takeKey } from "./route.js";
import { Store } from "./store.js";
import { followSystem } from "./theme.js";
import { header } from "./views/header.js";
import { keyView } from "./views/key.js";
import { overviewView } from "./views/overview.js";
import { tenantView } from "./views/tenant.js";

const KEY = "collectors.key";

/**
 * @typedef {object} AppState
 * @property {import("./route.js").Route} route
 * @property {import("./types.js").Overview|null} overview
 * @property {string} overviewError
 * @property {import("./types.js").Tenant[]|null} tenants
 * @property {number} connection  Counts changes of the connection; `App.connection` tells what it is.
 */

export class App {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.key = this.#takeKey() ?? sessionStorage.getItem(KEY);
    /** @type {Store<AppState>} */
    this.store = new Store(
      /** @type {AppState} */ ({
        route: parseRoute(location.hash),
        overview: null,
        overviewError: "",
        tenants: null,
        connection: 0,
      }),
    );
    this.clock = new ServerClock();
    this.rates = new RateHistory();
    this.rates.load();
    this.api = new Api(
      () => this.key,
      () => this.#askKey(),
    );
    this.poller = new OverviewPoller(
      this.api,
      (overview) => this.#takeOverview(overview),
      (error) => this.#failOverview(error),
    );
    /** @type {Set<() => void>} */
    this.ticks = new Set();
    /** @type {{scope: import("./store.js").Scope, live?: import("./live.js").TenantLive, route?: () => void, tenant: string|null}|null} */
    this.view = null;
    this.asking = false;
    /** @type {boolean|null} Null until the page has been live once. */
    this.wasLive = null;
    this.main = h("main", { id: "main", tabindex: "-1" });
    this.announcer = h("div", { class: "sr-only", "aria-live": "polite" });
  }

  start() {
    const skip = h("button", { class: "skip", type: "button", onclick: () => this.main.focus() }, "Skip to content");
    this.root.replaceChildren(skip, header(this), this.main, this.announcer);
    addEventListener("hashchange", () => this.#followAddress());
    addEventListener("popstate", () => this.#followAddress());
    addEventListener("pagehide", () => this.rates.save());
    setInterval(() => {
      if (document.hidden) return;
      this.#connectionChanged();
      for (const tick of this.ticks) tick();
    }, 1_000);
    followSystem();
    this.#open();
  }

  /**
   * Go somewhere: change a part of the address, and show it.
   *
   * @param {Partial<import("./route.js").Route>} change
   * @param {{replace?: boolean}} [options]  `replace` adds no step to the browser's history.
   */
  navigate(change, { replace = false } = {}) {
    const route = { ...this.store.state.route, ...change };
    const address = location.pathname + location.search + formatRoute(route).replace(/^#$/, "");
    if (replace) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.#show(route);
  }

  /**
   * @param {() => void} tick  Called about once a second while the page is visible.
   * @returns {() => void}  Ends it.
   */
  onTick(tick) {
    this.ticks.add(tick);
    return () => this.ticks.delete(tick);
  }

  /**
   * Tell those who do not see the page.
   *
   * @param {string} text
   */
  announce(text) {
    setText(this.announcer, text);
  }

  /** Try again now what waits for its next attempt. */
  reconnect() {
    this.poller.now();
    this.view?.live?.stream.retryNow();
  }

  /**
   * Whether what is shown is live.
   *
   * @returns {{level: "ok"|"warn"|"bad", label: string, waiting: boolean, error: string}}  `waiting` for the next
   *   attempt, which the user may bring forward.
   */
  connection() {
    if (this.asking) return { level: "bad", label: "Locked", waiting: false, error: "An access key is needed." };
    const live = this.view?.live;
    const { overview, overviewError } = this.store.state;
    if (!live) {
      if (overviewError) return { level: "warn", label: "Reconnecting", waiting: true, error: overviewError };
      return { level: overview ? "ok" : "warn", label: overview ? "Live" : "Connecting", waiting: false, error: "" };
    }
    const { phase, retryAtMs, error } = live.store.state.connection;
    if (phase === "live") return { level: "ok", label: "Live", waiting: false, error };
    if (phase === "stopped") return { level: "bad", label: "Not connected", waiting: false, error };
    if (phase === "connecting") return { level: "warn", label: "Connecting", waiting: false, error };
    const seconds = Math.max(0, Math.ceil((retryAtMs - performance.now()) / 1000));
    return { level: "warn", label: `Reconnecting in ${seconds} s`, waiting: true, error };
  }

  /** Take the access key out of the address bar, so that it is neither seen nor shared with the link. */
  #takeKey() {
    const { key, rest } = takeKey(location.hash);
    if (rest !== location.hash) history.replaceState(null, "", location.pathname + location.search + rest);
    if (key) sessionStorage.setItem(KEY, key);
    return key;
  }

  #followAddress() {
    const key = this.#takeKey();
    const route = parseRoute(location.hash);
    if (key && key !== this.key) {
      this.key = key;
      this.store.state.route = route;
      this.#open();
    } else if (formatRoute(route) !== formatRoute(this.store.state.route)) {
      this.#show(route);
    }
  }

  /** Begin, or begin again with another key. */
  #open() {
    this.asking = false;
    this.#leave();
    this.store.set("overviewError", "");
    void this.#fetchTenants();
    // Without a key one question is enough to learn whether one is needed.
    if (this.key) this.#begin();
  }

  #begin() {
    this.poller.start();
    this.#show(this.store.state.route);
  }

  #askKey() {
    if (this.asking) return;
    this.asking = true;
    const refused = Boolean(this.key);
    this.key = null;
    sessionStorage.removeItem(KEY);
    this.poller.stop();
    this.#leave();
    this.store.set("overview", null);
    this.store.set("tenants", null);
    this.#connectionChanged();
    document.title = "collectors";
    keyView(this.main, {
      refused,
      onKey: (key) => {
        this.key = key;
        sessionStorage.setItem(KEY, key);
        this.#open();
      },
    });
  }

  #leave() {
    this.view?.scope.end();
    this.view = null;
  }

  /** @param {import("./route.js").Route} route */
  #show(route) {
    const { tenant } = route;
    if (this.asking) {
      this.store.set("route", route);
    } else if (this.view && this.view.tenant === tenant) {
      this.store.set("route", route);
      this.view.route?.();
    } else {
      this.#leave();
      this.store.set("route", route);
      const first = !this.main.firstChild;
      this.wasLive = null;
      if (tenant === null) {
        this.view = { scope: overviewView(this.main, this), tenant };
      } else {
        const view = tenantView(this.main, this, tenant);
        this.view = { ...view, tenant };
        view.scope.add(view.live.store.on("connection", () => this.#connectionChanged()));
      }
      if (!first) this.main.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    this.#connectionChanged();
    this.#title();
  }

  /** @param {import("./types.js").Overview} overview */
  #takeOverview(overview) {
    this.clock.observe(overview.time);
    for (const tenant of overview.tenants) this.rates.add(tenant.id, overview.time, tenant.events_per_second);
    this.store.set("overviewError", "");
    this.store.set("overview", overview);
    this.#connectionChanged();
    this.#title();
    const known = this.store.state.tenants;
    if (known && overview.tenants.some((one) => !known.some((tenant) => tenant.id === one.id)))
      void this.#fetchTenants();
  }

  /** @param {Error} error */
  #failOverview(error) {
    this.store.set("overviewError", error.message);
    this.#connectionChanged();
  }

  async #fetchTenants() {
    try {
      this.store.set("tenants", await this.api.get("v1/tenants"));
    } catch {
      // Only names the time zone and the currency; the next start of the page tries again.
    }
    if (!this.asking && !this.poller.running) this.#begin();
  }

  #connectionChanged() {
    const { level } = this.connection();
    if (level === "ok" && this.wasLive === false) this.announce("Live again.");
    if (level !== "ok" && this.wasLive) this.announce("Connection lost. Reconnecting.");
    if (level !== "warn" || this.wasLive) this.wasLive = level === "ok";
    this.store.set("connection", this.store.state.connection + 1);
  }

  #title() {
    const { overview, route } = this.store.state;
    const firing = (overview?.tenants ?? [])
      .filter((one) => route.tenant === null || one.id === route.tenant)
      .reduce((sum, one) => sum + one.alerts.firing, 0);
    document.title = `${firing ? `(${firing}) ` : ""}${route.tenant ? `${route.tenant.slice(0, 60)} · ` : ""}collectors`;
  }
}

const root = document.getElementById("app");
if (root) new App(root).start();
