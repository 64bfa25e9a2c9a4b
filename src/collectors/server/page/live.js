/** Everything the page knows of the tenant that is looked at, kept up to date by the tenant's event stream. */

import { tenantPath } from "./api.js";
import { EventStream } from "./sse.js";
import { seriesKey } from "./series.js";
import { Store } from "./store.js";

/** A page that nobody has looked at for so long gives its connection back. */
const HIDDEN_MS = 60_000;

const MAX_ALERTS = 300;
const LATEST_MAX_AGE_MS = 10_000;
const METRICS_REFRESH_MS = 10_000;
const RETRY_MS = 5_000;

/**
 * @typedef {object} LiveState
 * @property {import("./sse.js").StreamState} connection
 * @property {import("./types.js").Ledger|null} ledger
 * @property {import("./types.js").Collector[]|null} collectors
 * @property {import("./types.js").Metric[]|null} metrics
 * @property {Map<string, import("./types.js").Alert>|null} alerts
 * @property {{time: number, rate: number, freshness: number|null}|null} flow
 * @property {string} error  Why the tenant cannot be shown at all.
 */

export class TenantLive {
  /**
   * @param {string} tenant
   * @param {import("./api.js").Api} api
   * @param {import("./clock.js").ServerClock} clock
   */
  constructor(tenant, api, clock) {
    this.tenant = tenant;
    this.api = api;
    this.clock = clock;
    /** @type {Store<LiveState>} */
    this.store = new Store(
      /** @type {LiveState} */ ({
        connection: { phase: "connecting", retryAtMs: 0, error: "" },
        ledger: null,
        collectors: null,
        metrics: null,
        alerts: null,
        flow: null,
        error: "",
      }),
    );
    this.controller = new AbortController();
    /** @type {Map<string, Set<(sample: import("./types.js").Sample) => void>>} */
    this.sampleListeners = new Map();
    /** @type {Set<() => void>} Called when samples may have been missed. */
    this.resumeListeners = new Set();
    /** @type {Set<string>} */
    this.knownMetrics = new Set();
    this.metricsAskedMs = -Infinity;
    /** @type {{atMs: number, answer: Promise<any>}|null} */
    this.latest = null;
    this.stream = new EventStream((lastId, signal) => api.stream(tenantPath(tenant, "stream"), lastId, signal), {
      onEvent: (event) => this.#take(event),
      onState: (state) => this.store.set("connection", state),
      onOpen: (resumed) => {
        // The first connection comes along with the first refresh, unless that has failed.
        if (!resumed && !this.store.state.error) return;
        void this.refresh();
        for (const listener of this.resumeListeners) listener();
      },
    });
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.hideTimer = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.retryTimer = undefined;
    this.onVisibility = () => this.#visibility();
  }

  start() {
    this.stream.start();
    document.addEventListener("visibilitychange", this.onVisibility);
    void this.refresh();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.onVisibility);
    clearTimeout(this.hideTimer);
    clearTimeout(this.retryTimer);
    this.controller.abort();
    this.stream.stop();
  }

  /** Ask for the whole present state; the stream then only tells of changes. */
  async refresh() {
    const ask = async (/** @type {string} */ what, /** @type {(answer: any) => void} */ take, params = {}) => {
      const answer = await this.api.get(tenantPath(this.tenant, what), params, this.controller.signal);
      if (!this.controller.signal.aborted) take(answer);
    };
    const results = await Promise.allSettled([
      ask("alerts", (alerts) => this.#setAlerts(alerts), { state: "all", limit: 100 }),
      ask("ledger", (ledger) => this.store.set("ledger", ledger)),
      ask("collectors", (collectors) => this.store.set("collectors", collectors)),
      ask("metrics", (metrics) => this.#setMetrics(metrics)),
    ]);
    if (this.controller.signal.aborted) return;
    const failure = results.map((result) => (result.status === "rejected" ? result.reason : null)).find(Boolean);
    this.store.set("error", failure ? String(failure.message) : "");
    clearTimeout(this.retryTimer);
    if (failure && !failure.permanent) this.retryTimer = setTimeout(() => void this.refresh(), RETRY_MS);
  }

  /**
   * Hear the live samples of a metric.
   *
   * @param {string} metric
   * @param {(sample: import("./types.js").Sample) => void} listener
   * @returns {() => void}  Ends it.
   */
  onSamples(metric, listener) {
    let set = this.sampleListeners.get(metric);
    if (!set) this.sampleListeners.set(metric, (set = new Set()));
    set.add(listener);
    return () => set.delete(listener);
  }

  /**
   * @param {() => void} listener  Called when the connection is back and samples may have been missed.
   * @returns {() => void}  Ends it.
   */
  onResume(listener) {
    this.resumeListeners.add(listener);
    return () => this.resumeListeners.delete(listener);
  }

  /**
   * Why a series has no value now; live samples do not always say it.
   *
   * @param {string} metric
   * @param {import("./types.js").Labels} labels
   * @returns {Promise<string>}
   */
  async reason(metric, labels) {
    const nowMs = performance.now();
    if (!this.latest || nowMs - this.latest.atMs > LATEST_MAX_AGE_MS) {
      const answer = this.api.get(tenantPath(this.tenant, "latest"), {}, this.controller.signal);
      this.latest = { atMs: nowMs, answer };
    }
    try {
      const key = seriesKey(labels);
      const all = await this.latest.answer;
      const one = all.find((/** @type {any} */ s) => s.metric === metric && seriesKey(s.labels) === key);
      return one?.value === null ? String(one.reason ?? "") : "";
    } catch {
      return "";
    }
  }

  /** @param {import("./sse.js").ServerEvent} event */
  #take({ event, data }) {
    let body;
    try {
      body = JSON.parse(data);
    } catch {
      return;
    }
    if (event === "samples") this.#takeSamples(body);
    else if (event === "alert") this.#takeAlert(body);
    else if (event === "ledger") this.store.set("ledger", body);
    else if (event === "status") {
      this.store.set("collectors", body.collectors);
      this.store.set("flow", {
        time: this.clock.nowUs(),
        rate: body.events_per_second,
        freshness: body.freshness_seconds ?? null,
      });
    }
  }

  /** @param {{time: number, samples: import("./types.js").Sample[]}} frame */
  #takeSamples(frame) {
    this.clock.observe(frame.time);
    let unknown = false;
    for (const sample of frame.samples) {
      for (const listener of this.sampleListeners.get(sample.metric) ?? []) listener(sample);
      if (!this.knownMetrics.has(sample.metric)) unknown = true;
    }
    if (unknown) void this.#askMetrics();
  }

  /** A new metric has appeared: ask what it is, but not for every frame. */
  async #askMetrics() {
    const nowMs = performance.now();
    if (this.store.state.metrics === null || nowMs - this.metricsAskedMs < METRICS_REFRESH_MS) return;
    this.metricsAskedMs = nowMs;
    try {
      this.#setMetrics(await this.api.get(tenantPath(this.tenant, "metrics"), {}, this.controller.signal));
    } catch {
      // The next unknown sample asks again.
    }
  }

  /** @param {import("./types.js").Metric[]} metrics */
  #setMetrics(metrics) {
    this.knownMetrics = new Set(metrics.map((metric) => metric.name));
    this.store.set("metrics", metrics);
  }

  /** @param {import("./types.js").Alert[]} alerts */
  #setAlerts(alerts) {
    this.store.set("alerts", new Map(alerts.map((alert) => [alert.id, alert])));
  }

  /** @param {import("./types.js").Alert} alert */
  #takeAlert(alert) {
    const alerts = this.store.state.alerts ?? new Map();
    alerts.set(alert.id, alert);
    if (alerts.size > MAX_ALERTS) {
      const resolved = [...alerts.values()].find((one) => one.state !== "firing") ?? alerts.values().next().value;
      alerts.delete(resolved.id);
    }
    this.store.set("alerts", alerts);
  }

  #visibility() {
    clearTimeout(this.hideTimer);
    if (document.hidden) this.hideTimer = setTimeout(() => this.stream.stop(), HIDDEN_MS);
    else this.stream.start();
  }
}
