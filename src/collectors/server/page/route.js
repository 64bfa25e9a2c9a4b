/**
 * What the address bar says: which tenant, which time range, which charts. Everything a shared link needs, and
 * nothing secret: an access key is taken out as soon as it is seen.
 */

/** The time ranges one may choose, in seconds. */
export const RANGES = new Map([
  ["15m", 900],
  ["1h", 3_600],
  ["6h", 21_600],
  ["24h", 86_400],
  ["7d", 604_800],
]);

export const DEFAULT_RANGE = "15m";

/** Most charts that are pinned at once: each holds memory and asks the server for its history. */
export const MAX_PINS = 16;

/**
 * @typedef {object} Route
 * @property {string|null} tenant  Null is the overview of all tenants.
 * @property {string} range  A key of RANGES.
 * @property {{from: number, to: number}|null} zoom  A fixed window in seconds since the epoch, instead of the range.
 * @property {string[]|null} pins  Metrics shown as charts; null leaves the choice to the page.
 */

/**
 * Read a URL fragment; what it does not say, or says wrongly, gets its default.
 *
 * @param {string} hash
 * @returns {Route}
 */
export function parseRoute(hash) {
  const params = new URLSearchParams(hash.replace(/^#/, ""));
  const range = params.get("range") ?? "";
  const pins = params.get("pin");
  const from = Number(params.get("from"));
  const to = Number(params.get("to"));
  return {
    tenant: params.get("tenant") || null,
    range: RANGES.has(range) ? range : DEFAULT_RANGE,
    zoom: from > 0 && to > from ? { from, to } : null,
    pins: pins === null ? null : [...new Set(pins.split(",").filter(Boolean))].slice(0, MAX_PINS),
  };
}

/**
 * Write a route as a URL fragment.
 *
 * @param {Route} route
 * @returns {string}
 */
export function formatRoute(route) {
  const parts = [];
  if (route.tenant) parts.push(`tenant=${encodeURIComponent(route.tenant)}`);
  if (route.tenant && route.zoom) parts.push(`from=${route.zoom.from}`, `to=${route.zoom.to}`);
  if (route.range !== DEFAULT_RANGE) parts.push(`range=${route.range}`);
  if (route.tenant && route.pins) parts.push(`pin=${route.pins.map(encodeURIComponent).join(",")}`);
  return `#${parts.join("&")}`;
}

/**
 * Take the access key out of a URL fragment.
 *
 * @param {string} hash
 * @returns {{key: string|null, rest: string}}  The key, and the fragment without it.
 */
export function takeKey(hash) {
  const params = new URLSearchParams(hash.replace(/^#/, ""));
  const key = params.get("key");
  if (key === null) return { key: null, rest: hash };
  const rest = hash
    .replace(/^#/, "")
    .split("&")
    .filter((part) => !/^key(=|$)/.test(part))
    .join("&");
  return { key: key || null, rest: rest ? `#${rest}` : "" };
}
