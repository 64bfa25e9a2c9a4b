/** Which charts a tenant shows before its user has chosen any. Only metrics that the server lists are ever shown. */

import { MAX_PINS } from "./route.js";

/** The platform's own tenant: the machines, and the collectors' own path. */
export const OPERATOR_TENANT = "platform";

/** A tenant's accepted events per second; if the server lists it, the chart of the event rate has a history. */
export const RATE_METRIC = "collectors.intake.rate";

const DEFAULT_COUNT = 9;

/** What is looked for, most telling first; each entry is a metric's name or, ending in a dot, the start of it. */
const OPERATOR = [
  "system.cpu.utilization",
  "system.memory.utilization",
  "system.network.io",
  "system.disk.io",
  "system.filesystem.utilization",
  "collectors.system.load_average",
  "collectors.system.pressure.utilization",
  "collectors.container.memory.utilization",
  "collectors.intake.",
  "collectors.lake.",
  "collectors.",
  "system.",
];

const BUSINESS = [
  "collectors.business.",
  "collectors.engagement.",
  "collectors.revenue.",
  "collectors.security.",
  "collectors.threat.",
  "collectors.churn.",
  "collectors.ml.",
  "collectors.drift.",
  "http.server.request.duration",
  "collectors.",
];

/**
 * Choose the charts of a tenant: in turn the next metric of each wanted group, so that one collector with a hundred
 * metrics does not crowd out the others; then anything else, so that a tenant with metrics never shows none.
 *
 * @param {string} tenant
 * @param {import("./types.js").Metric[]} metrics
 * @returns {string[]}
 */
export function defaultPins(tenant, metrics) {
  const wanted = tenant === OPERATOR_TENANT ? OPERATOR : BUSINESS;
  // The event rate has its place above the others.
  const left = metrics.filter(({ name, series }) => series > 0 && name !== RATE_METRIC).map(({ name }) => name);
  const groups = wanted.map((want) =>
    left.filter((name) => (want.endsWith(".") ? name.startsWith(want) : name === want)),
  );
  /** @type {Set<string>} */
  const pins = new Set();
  for (let round = 0; pins.size < DEFAULT_COUNT && groups.some((group) => round < group.length); round++) {
    for (const group of groups) {
      if (round < group.length && pins.size < DEFAULT_COUNT) pins.add(group[round]);
    }
    // The broadest groups overlap the others; two of each narrow one are enough.
    if (round >= 1 && pins.size >= DEFAULT_COUNT / 2) break;
  }
  for (const name of left) if (pins.size < DEFAULT_COUNT) pins.add(name);
  return [...pins].slice(0, MAX_PINS);
}
