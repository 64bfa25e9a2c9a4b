/** Numbers, units and times as text. Pure; undefined values are an em dash. */

export const NONE = "—";

const INTEGER = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/**
 * An integer with thousands separators: `1,234,567`.
 *
 * @param {number|null|undefined} value
 * @returns {string}
 */
export function integer(value) {
  return isNumber(value) ? INTEGER.format(value) : NONE;
}

/**
 * @typedef {object} Scale  A unit to show values in, chosen for the largest of them.
 * @property {number} factor  Shown = value × factor.
 * @property {string} suffix  Including the space before it, if there is one.
 */

/** @type {[number, string][]} */
const BINARY = [
  [2 ** 50, "PiB"],
  [2 ** 40, "TiB"],
  [2 ** 30, "GiB"],
  [2 ** 20, "MiB"],
  [2 ** 10, "KiB"],
  [1, "B"],
];
/** @type {[number, string][]} */
const DECIMAL = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
  [1, ""],
];
/** @type {[number, string][]} */
const SECONDS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
  [1e-3, "ms"],
  [1e-6, "µs"],
  [1e-9, "ns"],
];

/** Units whose values are whole things: shown as `1,234` or `1.23 M`, the name of the thing being in the metric's. */
const COUNTED = /^\{.*\}$/;

/**
 * The scale in which a value of that size reads best.
 *
 * @param {number} largest  Largest absolute value to show.
 * @param {string} unit  UCUM, as the metric declares it.
 * @param {boolean} [rate]  Whether values are per second.
 * @returns {Scale}
 */
export function scaleFor(largest, unit, rate = false) {
  if (unit.endsWith("/s")) return scaleFor(largest, unit.slice(0, -2), true);
  const per = rate ? "/s" : "";
  const size = Math.abs(largest);
  if (unit === "By") return step(BINARY, size, per);
  // Seconds per second are how much of the time something was busy.
  if (unit === "1" || (unit === "s" && rate)) return { factor: 100, suffix: rate && unit === "1" ? " %/s" : " %" };
  if (unit === "%") return { factor: 1, suffix: ` %${per}` };
  if (unit === "s") return size === 0 ? { factor: 1, suffix: " s" } : step(SECONDS, size, per);
  if (unit === "h") return { factor: 1, suffix: ` h${per}` };
  if (unit === "Cel") return { factor: 1, suffix: ` °C${per}` };
  if (unit === "Hz") return step(DECIMAL, size < 1e3 ? 1 : size, `Hz${per}`);
  if (unit === "{minor_unit}") return { factor: 1, suffix: rate ? " /s" : "" };
  if (COUNTED.test(unit) || unit === "") return step(DECIMAL, size < 1e4 ? 1 : size, per);
  return { factor: 1, suffix: ` ${unit}${per}` };
}

/**
 * @param {[number, string][]} steps
 * @param {number} size
 * @param {string} after
 * @returns {Scale}
 */
function step(steps, size, after) {
  const [divisor, name] = steps.find(([limit]) => size >= limit) ?? steps[steps.length - 1];
  const suffix = `${name}${after}`;
  return { factor: 1 / divisor, suffix: suffix ? ` ${suffix}` : "" };
}

/**
 * One value of a metric in its unit: `1.5 MiB/s`, `42.0 %`, `830 µs`.
 *
 * @param {number|null|undefined} value
 * @param {string} unit
 * @param {boolean} [rate]
 * @returns {string}
 */
export function quantity(value, unit, rate = false) {
  if (!isNumber(value)) return NONE;
  const { factor, suffix } = scaleFor(value, unit, rate);
  const whole = COUNTED.test(unit) || unit === "" || (unit === "By" && factor === 1);
  return `${digits(value * factor, whole && Number.isInteger(value) && factor === 1)}${suffix}`;
}

/**
 * Three significant digits, and never fewer than an integer has.
 *
 * @param {number} value
 * @param {boolean} [whole]  Leave out decimals.
 * @returns {string}
 */
function digits(value, whole = false) {
  const size = Math.abs(value);
  if (whole || size >= 100 || value === 0) return INTEGER.format(value);
  if (size < 0.001) return value.toExponential(1).replace("e-", "e−");
  const decimals = size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toFixed(decimals);
}

/**
 * Labels for the ticks of an axis, all in one unit and with as many decimals as tell neighbours apart.
 *
 * @param {number[]} ticks  Ascending.
 * @param {string} unit
 * @param {boolean} [rate]
 * @returns {string[]}
 */
export function axisLabels(ticks, unit, rate = false) {
  const largest = ticks.reduce((most, tick) => Math.max(most, Math.abs(tick)), 0);
  const { factor, suffix } = scaleFor(largest, unit, rate);
  const gap = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) * factor : 1;
  let decimals = 0;
  while (decimals < 6 && Math.abs(gap - Number(gap.toFixed(decimals))) > gap * 1e-6) decimals += 1;
  const numbers = new Intl.NumberFormat("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return ticks.map((tick) => `${numbers.format(tick * factor + 0)}${suffix}`);
}

/**
 * A rate of events: `512 /s`, `1.23 M/s`.
 *
 * @param {number|null|undefined} value
 * @returns {string}
 */
export function eventRate(value) {
  return isNumber(value) && value === 0 ? "0 /s" : quantity(value, "{event}", true);
}

/**
 * A length of time in at most two units: `350 µs`, `4.20 s`, `3 min 20 s`, `2 d 4 h`.
 *
 * @param {number|null|undefined} seconds
 * @returns {string}
 */
export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  const size = Math.abs(seconds);
  if (size < 59.95) return quantity(seconds, "s");
  const whole = Math.round(size);
  const parts = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3_600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count !== 0);
  const shown = parts.slice(first, first + 2).filter(([count]) => count !== 0);
  return `${seconds < 0 ? "−" : ""}${shown.map(([count, unit]) => `${count} ${unit}`).join(" ")}`;
}

/**
 * How long ago something was: `just now`, `12 s ago`, `3 h ago`; `never` if it never happened.
 *
 * @param {number|null|undefined} us
 * @param {number} nowUs
 * @returns {string}
 */
export function ago(us, nowUs) {
  if (!us) return "never";
  const seconds = Math.max(0, (nowUs - us) / 1e6);
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/**
 * A moment in the viewer's time zone: `2025-03-01 14:05:09`.
 *
 * @param {number|null|undefined} us
 * @returns {string}
 */
export function dateTime(us) {
  if (!us) return NONE;
  const date = new Date(us / 1000);
  if (Number.isNaN(date.getTime())) return NONE;
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/**
 * A metric's unit in words: `bytes`, `ratio`, `users`, `events per second`.
 *
 * @param {string} unit
 * @returns {string}
 */
export function unitName(unit) {
  if (unit.endsWith("/s")) return `${unitName(unit.slice(0, -2))} per second`;
  const known = UNIT_NAMES.get(unit);
  if (known) return known;
  const thing = /^\{(.*)\}$/.exec(unit)?.[1].replaceAll("_", " ");
  return thing ? `${thing}${thing.endsWith("s") ? "es" : "s"}` : unit;
}

const UNIT_NAMES = new Map([
  ["1", "ratio"],
  ["By", "bytes"],
  ["s", "seconds"],
  ["h", "hours"],
  ["Hz", "hertz"],
  ["Cel", "°C"],
  ["%", "percent"],
  ["{count}", "count"],
]);

/**
 * @param {unknown} value
 * @returns {value is number}
 */
function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
