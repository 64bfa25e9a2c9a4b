/** Where a chart gets its points from: a metric of the tenant, or the tenant's event rate. */

import { tenantPath } from "../api.js";
import { RATE_METRIC } from "../defaults.js";
import { pointsFor } from "../series.js";

/**
 * @typedef {object} Source
 * @property {string} name
 * @property {string} description
 * @property {string} unit
 * @property {boolean} counter  Whether values only grow, and are shown as a rate per second.
 * @property {(window: {from: number, to: number}, signal: AbortSignal) => Promise<import("../types.js").History>} load
 * @property {(listener: (sample: import("../types.js").Sample) => void) => () => void} listen
 * @property {(labels: import("../types.js").Labels) => Promise<string>} reason  Why a series has no value now.
 */

/**
 * @param {import("../live.js").TenantLive} live
 * @param {import("../types.js").Metric} metric
 * @returns {Source}
 */
export function metricSource(live, metric) {
  return {
    name: metric.name,
    description: metric.description,
    unit: metric.unit,
    counter: metric.kind === "counter",
    load: ({ from, to }, signal) =>
      live.api.get(
        tenantPath(live.tenant, "samples"),
        {
          metric: metric.name,
          since: Math.floor(from * 1e6),
          until: Math.ceil(to * 1e6),
          points: pointsFor(metric.series),
        },
        signal,
      ),
    listen: (listener) => live.onSamples(metric.name, listener),
    reason: (labels) => live.reason(metric.name, labels),
  };
}

/**
 * The event rate: its past from the metric if the server lists it, else from what this page has gathered itself; its
 * present from the stream.
 *
 * @param {import("../live.js").TenantLive} live
 * @param {import("../rates.js").RateHistory} rates
 * @param {import("../types.js").Metric|undefined} metric
 * @returns {Source}
 */
export function rateSource(live, rates, metric) {
  const unit = "{event}/s";
  return {
    name: "Events per second",
    description: metric?.description ?? "Accepted events of all types.",
    unit,
    counter: false,
    load: async (window, signal) => {
      if (metric) return metricSource(live, metric).load(window, signal);
      const gathered = rates.get(live.tenant).filter(([time]) => time >= window.from);
      /** @type {[number, number][]} */
      const points = gathered.map(([time, rate]) => [time * 1e6, rate]);
      return { metric: RATE_METRIC, unit, series: points.length ? [{ labels: {}, points }] : [] };
    },
    listen: (listener) =>
      live.store.on("flow", (flow) => {
        if (flow) listener({ metric: RATE_METRIC, labels: {}, time: flow.time, value: flow.rate });
      }),
    reason: async () => "The worker does not report.",
  };
}
