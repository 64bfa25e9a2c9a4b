/** Each tenant's event rate over the last minutes, as the overview reported it; it survives a reload of the page. */

const STORAGE_KEY = "collectors.rates";
const MAX_TENANTS = 200;
const MAX_POINTS = 150;
const MIN_GAP_S = 4;
/** How much of the past a sparkline shows, in seconds. */
export const SPARK_S = 600;

const MAX_AGE_S = 3_600;

export class RateHistory {
  constructor() {
    /** @type {Map<string, [number, number][]>} Seconds since the epoch and events per second. */
    this.points = new Map();
  }

  /**
   * @param {string} tenant
   * @param {number} timeUs
   * @param {number} rate
   */
  add(tenant, timeUs, rate) {
    if (!Number.isFinite(rate)) return;
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
