/** Each tenant's event rate over the last minutes: from the server's memory, then as the overview reports it. */

import { tenantPath } from "./api.js";
import { RATE_METRIC } from "./defaults.js";

const STORAGE_KEY = "collectors.rates";
const MAX_TENANTS = 200;

/** Tenants whose history is fetched at once; the others' lines begin with the page. */
const MAX_FILLED = 60;
const MAX_POINTS = 150;
const MIN_GAP_S = 4;
/** How much of the past a sparkline shows, in seconds. */
export const SPARK_S = 600;

const MAX_AGE_S = 3_600;

export class RateHistory {
  constructor() {
    /** @type {Map<string, [number, number][]>} Seconds since the epoch and events per second. */
    this.points = new Map();
    /** @type {Set<string>} Tenants whose history was asked for. */
    this.filled = new Set();
  }

  /**
   * @param {string} tenant
   * @param {number} timeUs
   * @param {number|null} rate
   */
  add(tenant, timeUs, rate) {
    if (typeof rate !== "number" || !Number.isFinite(rate)) return;
    let points = this.points.get(tenant);
    if (!points) {
      if (this.points.size >= MAX_TENANTS) this.points.delete(this.points.keys().next().value ?? "");
      points = [];
      this.points.set(tenant, points);
    }
    const time = timeUs / 1e6;
    const newest = points[points.length - 1];
    if (newest && Math.abs(time - newest[0]) > MAX_AGE_S) points.length = 0;
    const last = points[points.length - 1];
    if (last && time - last[0] < MIN_GAP_S) {
      if (time > last[0]) last[1] = rate;
      return;
    }
    points.push([time, rate]);
    if (points.length > MAX_POINTS) points.shift();
  }

  /**
   * @param {string} tenant
   * @returns {[number, number][]}
   */
  get(tenant) {
    return this.points.get(tenant) ?? [];
  }

  /**
   * Fetch the last minutes of those tenants that were not asked for before. It is an ornament: what cannot be had is
   * left out.
   *
   * @param {import("./api.js").Api} api
   * @param {number} nowUs
   * @param {string[]} tenants
   * @param {AbortSignal} signal
   * @returns {Promise<boolean>}  Whether there is more to draw than before.
   */
  async fill(api, nowUs, tenants, signal) {
    const asked = tenants.filter((tenant) => !this.filled.has(tenant)).slice(0, MAX_FILLED);
    for (const tenant of asked) this.filled.add(tenant);
    let found = false;
    const params = { metric: RATE_METRIC, since: nowUs - SPARK_S * 1e6, until: nowUs, points: MAX_POINTS - 30 };
    for (const [place, tenant] of asked.entries()) {
      try {
        if (place === 0) {
          // What is listed for one tenant is for the others too.
          const metrics = await api.get(tenantPath(tenant, "metrics"), {}, signal);
          if (!metrics.some((/** @type {any} */ metric) => metric.name === RATE_METRIC)) return false;
        }
        const { series } = await api.get(tenantPath(tenant, "samples"), params, signal);
        found = this.#prepend(tenant, series[0]?.points ?? []) || found;
      } catch {
        if (!signal.aborted) continue;
        for (const left of asked.slice(place)) this.filled.delete(left);
        return found;
      }
    }
    return found;
  }

  /**
   * @param {string} tenant
   * @param {[number, number|null][]} history
   * @returns {boolean}
   */
  #prepend(tenant, history) {
    const present = this.get(tenant);
    const first = present[0]?.[0] ?? Infinity;
    /** @type {[number, number][]} */
    const older = [];
    for (const [us, rate] of history) if (rate !== null && us / 1e6 < first) older.push([us / 1e6, rate]);
    if (older.length) this.points.set(tenant, [...older, ...present].slice(-MAX_POINTS));
    return older.length > 0;
  }

  save() {
    try {
      sessionStorage.setItem(STORAGE_KEY, JSON.stringify([...this.points]));
    } catch {
      // Without storage the lines begin anew after a reload.
    }
  }

  load() {
    try {
      this.points = new Map(JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? "[]"));
    } catch {
      this.points = new Map();
    }
  }
}
