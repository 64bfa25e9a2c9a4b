/** Where a chart gets its points from: a metric of the tenant, or the tenant's event rate. */

import { tenantPath } from "../api.js";
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

export const RATE_NAME = "Events per second";

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
 * The event rate as the stream reports it, with the history that this page itself has gathered.
 *
 * @param {import("../live.js").TenantLive} live
 * @param {import("../rates.js").RateHistory} rates
 * @returns {Source}
 */
export function flowSource(live, rates) {
  const name = "events_per_second";
  return {
    name: RATE_NAME,
    description: "Accepted events of all types.",
    unit: "{event}/s",
    counter: false,
    load: async ({ from }) => {
      const points = rates.get(live.tenant).filter(([time]) => time >= from);
      /** @type {[number, number][]} */
      const micros = points.map(([time, rate]) => [time * 1e6, rate]);
      return { metric: name, unit: "{event}/s", series: micros.length ? [{ labels: {}, points: micros }] : [] };
    },
    listen: (listener) =>
      live.store.on("flow", (flow) => {
        if (flow) listener({ metric: name, labels: {}, time: flow.time, value: flow.rate });
      }),
    reason: async () => "",
  };
}
