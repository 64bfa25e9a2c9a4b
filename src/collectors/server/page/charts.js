/** Line charts over time: the only module that knows the chart library. */

import uPlot from "./vendor/uplot/uPlot.esm.min.js";
import { axisLabels } from "./format.js";

/** Lines that are drawn at once; more cannot be told apart. */
export const MAX_LINES = 8;

/** Charts of one page share their cursor. */
const SYNC = "time";

/** The second four lines have the colours of the first four beside them in dashes: colour is never the only mark. */
const DASHES = [[], [], [], [], [6, 3], [6, 3], [2, 3], [2, 3]];

const BYTE_STEPS = Array.from({ length: 60 }, (_, power) => 2 ** power);
const TIME_STEPS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1]
  .flatMap((base) => [base, 2 * base, 5 * base])
  .concat([1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400, 172_800, 604_800]);

/**
 * The lower and upper end of the value axis: from zero unless that would hide the movement.
 *
 * @param {number|null} low
 * @param {number|null} high
 * @param {boolean} fromZero  Keep zero in sight even if that flattens the movement.
 * @returns {[number, number]}
 */
export function valueRange(low, high, fromZero) {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  if (low === high) {
    if (low === 0) return [0, 1];
    return low > 0 ? [0, low * 1.25] : [low * 1.25, 0];
  }
  const margin = (high - low) * 0.08;
  if (low >= 0 && (fromZero || low < high * 0.9)) return [0, high + margin];
  if (high <= 0 && (fromZero || high > low * 0.9)) return [low - margin, 0];
  return [low - margin, high + margin];
}

/**
 * A colour of the page's style sheet, as it is under the present theme.
 *
 * @param {string} name  Without the leading dashes.
 * @returns {string}
 */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/**
 * @typedef {object} ChartOptions
 * @property {string} unit
 * @property {boolean} rate
 * @property {number} height  Pixels.
 * @property {() => {from: number, to: number}} window  What the time axis spans, in seconds since the epoch.
 * @property {(index: number|null, time: number) => void} onCursor  Called with the column that is nearest to the
 *   pointer, and the time under the pointer.
 * @property {(from: number, to: number) => void} onSelect  Called with a span that the user drew.
 */

/** A chart in a box of the page; it follows the box's width and the theme. */
export class Chart {
  /**
   * @param {HTMLElement} box
   * @param {ChartOptions} options
   */
  constructor(box, options) {
    this.box = box;
    this.options = options;
    /** @type {number[]} The colour slot of each line. */
    this.slots = [];
    /** @type {any} */
    this.data = [[]];
    /** @type {any} */
    this.plot = null;
    this.resizer = new ResizeObserver(() => this.#resize());
    this.resizer.observe(box);
    this.restyle = () => this.#build();
    document.addEventListener("themechange", this.restyle);
  }

  /**
   * Show other data; as long as the lines are the same ones this is cheap.
   *
   * @param {any} data  As from `columns`.
   * @param {number[]} slots  The colour slot of each line, 0 to MAX_LINES − 1.
   */
  show(data, slots) {
    this.data = data;
    if (this.plot && slots.join() === this.slots.join()) {
      this.plot.setData(data);
      return;
    }
    this.slots = [...slots];
    this.#build();
  }

  destroy() {
    document.removeEventListener("themechange", this.restyle);
    this.resizer.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  #resize() {
    const width = Math.floor(this.box.clientWidth);
    if (!width) return;
    if (!this.plot) this.#build();
    else if (width !== this.plot.width) this.plot.setSize({ width, height: this.options.height });
  }

  #build() {
    const width = Math.floor(this.box.clientWidth);
    if (!width) return;
    this.plot?.destroy();
    this.plot = new /** @type {any} */ (uPlot)(this.#settings(width), this.data, this.box);
    // What the canvas shows is told by the panel's heading and legend.
    this.plot.root.setAttribute("aria-hidden", "true");
  }

  /** @param {number} width */
  #settings(width) {
    const { unit, rate, height, window, onCursor, onSelect } = this.options;
    const [text, grid] = [colour("text-muted"), colour("grid")];
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: text, font, ticks: { show: false }, grid: { stroke: grid, width: 1 } };
    const steps = unit === "By" ? BYTE_STEPS : unit === "s" && !rate ? TIME_STEPS : undefined;
    const flow = rate || unit.endsWith("/s");
    const area = colour("series-fill");
    const alone = this.slots.length === 1;
    return {
      width,
      height,
      padding: [8, 16, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        points: { size: 7 },
        sync: {
          key: SYNC,
          setSeries: false,
          // Only where the pointer is is shared, not what it selects.
          filters: { pub: (/** @type {string} */ type) => type === "mousemove" || type === "mouseleave" },
        },
      },
      scales: {
        x: { time: true, range: () => [window().from, window().to] },
        y: {
          range: (/** @type {any} */ _u, /** @type {any} */ low, /** @type {any} */ high) =>
            valueRange(low, high, flow),
        },
      },
      axes: [
        { ...axis, size: 24, space: 64, values: timeLabels },
        {
          ...axis,
          size: measure,
          space: 28,
          ...(steps ? { incrs: steps } : {}),
          values: (/** @type {any} */ _u, /** @type {number[]} */ ticks) => axisLabels(ticks, unit, rate),
        },
      ],
      series: [
        {},
        ...this.slots.map((slot) => ({
          stroke: colour(`series-${slot + 1}`),
          width: 1.5,
          dash: DASHES[slot],
          // An area must stand on zero, or its height would mean nothing.
          fill: (/** @type {any} */ u) => (alone && u.scales.y.min === 0 ? area : null),
          points: { size: 4 },
        })),
      ],
      hooks: {
        setCursor: [
          (/** @type {any} */ u) => {
            const { idx, left } = u.cursor;
            if (left >= 0 && typeof idx === "number") onCursor(idx, u.posToVal(left, "x"));
            else onCursor(null, 0);
          },
        ],
        setSelect: [
          (/** @type {any} */ u) => {
            if (u.select.width < 4) return;
            onSelect(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          },
        ],
      },
    };
  }
}

/**
 * The width of the value axis: as wide as its widest label.
 *
 * @param {any} u
 * @param {string[]|null} labels
 * @param {number} axis
 * @returns {number}
 */
function measure(u, labels, axis) {
  const longest = (labels ?? []).reduce((most, label) => (label.length > most.length ? label : most), "");
  if (!longest) return u.axes[axis]._size ?? 50;
  u.ctx.font = u.axes[axis].font[0];
  return Math.ceil(u.ctx.measureText(longest).width / devicePixelRatio) + 14;
}

/**
 * Labels of the time axis: the clock time, and the date where a day begins.
 *
 * @param {any} _u
 * @param {number[]} ticks  Seconds since the epoch.
 * @param {number} _axis
 * @param {number} _space
 * @param {number} step  Seconds between two ticks.
 * @returns {string[]}
 */
function timeLabels(_u, ticks, _axis, _space, step) {
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return ticks.map((tick) => {
    const date = new Date(tick * 1000);
    const midnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0;
    if (midnight || step >= 86_400) return `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
    return step < 60 ? `${clock}:${two(date.getSeconds())}` : clock;
  });
}

/**
 * A tiny line without axes, as an image the style sheet can colour; its right end is the newest point.
 *
 * @param {SVGElement} target  An empty `<svg>` of a polygon and a polyline.
 * @param {[number, number][]} points  Time in seconds, and value.
 * @param {number} span  Seconds from the left end to the right.
 */
export function drawSparkline(target, points, span) {
  const [width, height] = [100, 24];
  target.setAttribute("viewBox", `0 0 ${width} ${height}`);
  target.setAttribute("preserveAspectRatio", "none");
  const end = points.length ? points[points.length - 1][0] : 0;
  const shown = points.filter(([time]) => time >= end - span);
  const top = shown.reduce((most, [, value]) => Math.max(most, value), 0) || 1;
  const places = shown.map(([time, value]) => ({
    x: (width * (1 - (end - time) / span)).toFixed(1),
    y: (height - 1.5 - (value / top) * (height - 3)).toFixed(1),
  }));
  const line = places.length > 1 ? places.map(({ x, y }) => `${x},${y}`).join(" ") : "";
  const [area, stroke] = target.children;
  area.setAttribute("points", line ? `${places[0].x},${height} ${line} ${width},${height}` : "");
  stroke.setAttribute("points", line);
}
