/** The memory of a chart: bounded series of points, and their turning into columns to draw. */

/** Buckets a time range is divided into; also what the server is asked for. */
export const BUCKETS = 400;

/** Room for one range of buckets, and for points of the range before that still cross the left edge. */
const CAPACITY = BUCKETS + 112;

/** Most series of one metric that are kept; the others are only counted. */
export const MAX_SERIES = 50;

/** Points the server is asked for in one answer, over all series of a metric. */
const MAX_POINTS = 60_000;

/**
 * How many points a series to ask for, so that a metric of thousands of series stays affordable.
 *
 * @param {number} seriesCount
 * @returns {number}
 */
export function pointsFor(seriesCount) {
  return Math.max(20, Math.min(BUCKETS, Math.floor(MAX_POINTS / Math.max(1, seriesCount))));
}

/**
 * The same text for the same labels, whatever their order.
 *
 * @param {Record<string, string>|null|undefined} labels
 * @returns {string}
 */
export function seriesKey(labels) {
  return JSON.stringify(Object.entries(labels ?? {}).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/**
 * One series of a metric as a ring of buckets: a gauge's points that fall into one bucket are averaged, of a counter's
 * the last one stays, so memory and drawing cost depend on the range's length and not on how often samples come.
 */
export class Series {
  /**
   * @param {Record<string, string>} labels
   * @param {number} stepSeconds  Width of a bucket.
   * @param {boolean} rate  Whether it is a counter, to be shown as its increase per second.
   */
  constructor(labels, stepSeconds, rate) {
    this.labels = labels;
    this.key = seriesKey(labels);
    this.step = stepSeconds;
    this.rate = rate;
    /** Why the newest sample has no value, if it said so. */
    this.reason = "";
    this.times = new Float64Array(CAPACITY);
    this.values = new Float64Array(CAPACITY);
    this.start = 0;
    this.length = 0;
    this.bucket = NaN;
    this.weight = 0;
    /** @type {number|null} See `gap`. */
    this.knownGap = null;
  }

  /**
   * Add a point; one that is older than the newest is ignored, because it was seen already.
   *
   * @param {number} time  Seconds since the epoch.
   * @param {number|null} value  Null is a gap.
   */
  add(time, value) {
    const number = typeof value === "number" && Number.isFinite(value) ? value : NaN;
    const last = this.#index(this.length - 1);
    if (this.length && time <= this.times[last]) return;
    const bucket = Math.floor(time / this.step);
    if (bucket === this.bucket && this.weight > 0 && !Number.isNaN(number)) {
      this.weight = this.rate ? 1 : this.weight + 1;
      this.times[last] += (time - this.times[last]) / this.weight;
      this.values[last] += (number - this.values[last]) / this.weight;
      return;
    }
    if (this.length === CAPACITY) {
      this.start = (this.start + 1) % CAPACITY;
      this.length -= 1;
    }
    const next = this.#index(this.length);
    this.times[next] = time;
    this.values[next] = number;
    this.length += 1;
    this.knownGap = null;
    this.bucket = bucket;
    this.weight = Number.isNaN(number) ? 0 : 1;
  }

  /**
   * The points as two arrays; a counter's as the rate per second between neighbours. Null is a gap: a value that is
   * undefined, a counter that began anew, or samples that stopped coming.
   *
   * @returns {{times: number[], values: (number|null)[]}}
   */
  points() {
    const { rate, gap } = this;
    /** @type {number[]} */
    const times = [];
    /** @type {(number|null)[]} */
    const values = [];
    let before = NaN;
    let beforeTime = NaN;
    for (let i = 0; i < this.length; i++) {
      const at = this.#index(i);
      const time = this.times[at];
      const value = this.values[at];
      if (time - beforeTime > gap) {
        times.push((time + beforeTime) / 2);
        values.push(null);
        before = NaN;
      }
      if (!rate) {
        times.push(time);
        values.push(Number.isNaN(value) ? null : value);
      } else if (i > 0) {
        const increase = value - before;
        times.push(time);
        values.push(increase >= 0 ? increase / (time - beforeTime) : null);
      }
      before = value;
      beforeTime = time;
    }
    return { times, values };
  }

  /**
   * @param {number} [now]  The newest time of any series, in seconds: a series whose samples stopped has no last value.
   * @returns {number|null}  The newest value; null if it is undefined or there is none.
   */
  last(now = 0) {
    const { rate } = this;
    const at = this.#index(this.length - 1);
    let value = this.length ? this.values[at] : NaN;
    if (rate) {
      const before = this.#index(this.length - 2);
      const increase = this.length > 1 ? value - this.values[before] : NaN;
      value = increase >= 0 ? increase / (this.times[at] - this.times[before]) : NaN;
    }
    return Number.isNaN(value) || now - this.times[at] > this.gap ? null : value;
  }

  /** @returns {boolean} Whether the newest sample has no value. */
  get undefinedNow() {
    return this.length > 0 && Number.isNaN(this.values[this.#index(this.length - 1)]);
  }

  /** @returns {number} Time of the newest point, in seconds; 0 if there is none. */
  get newest() {
    return this.length ? this.times[this.#index(this.length - 1)] : 0;
  }

  /** @returns {number} Time between two points, in seconds, beyond which samples have stopped coming. */
  get gap() {
    if (this.knownGap !== null) return this.knownGap;
    if (this.length < 3) return Infinity;
    const gaps = [];
    for (let i = 1; i < this.length; i++) gaps.push(this.times[this.#index(i)] - this.times[this.#index(i - 1)]);
    gaps.sort((a, b) => a - b);
    this.knownGap = Math.max(3.5 * gaps[gaps.length >> 1], 2.5 * this.step);
    return this.knownGap;
  }

  /** @param {number} i */
  #index(i) {
    return (this.start + i) % CAPACITY;
  }
}

/** All kept series of one metric over one time range. */
export class SeriesSet {
  /**
   * @param {number} rangeSeconds
   * @param {boolean} rate  Whether the metric is a counter, to be shown as a rate.
   */
  constructor(rangeSeconds, rate) {
    this.step = rangeSeconds / BUCKETS;
    this.rate = rate;
    /** @type {Map<string, Series>} */
    this.series = new Map();
    /** Series that exist but are not kept. */
    this.unkept = 0;
    /** @type {Set<string>} */
    this.unkeptKeys = new Set();
  }

  /**
   * Fill from what the server remembers. Of too many series, those with the largest newest values are kept.
   *
   * @param {import("./types.js").History} history
   */
  load(history) {
    const all = Array.isArray(history?.series) ? history.series : [];
    const size = (/** @type {any} */ one) => lastNumber(one.points);
    const chosen = all.length > MAX_SERIES ? [...all].sort((a, b) => size(b) - size(a)).slice(0, MAX_SERIES) : all;
    this.unkept = all.length - chosen.length;
    for (const { labels, points } of chosen) {
      const series = this.#get(labels);
      if (series) for (const [us, value] of points) series.add(us / 1e6, value);
    }
  }

  /**
   * Append a live sample.
   *
   * @param {import("./types.js").Sample} sample
   */
  add(sample) {
    const series = this.#get(sample.labels);
    if (!series) return;
    series.add(sample.time / 1e6, sample.value);
    series.reason = sample.value === null ? (sample.reason ?? "") : "";
  }

  /**
   * The series by their newest value, largest first; those without one come last.
   *
   * @returns {Series[]}
   */
  ranked() {
    const { newest } = this;
    const ranked = [...this.series.values()].map((one) => ({ one, last: one.last(newest) ?? -Infinity }));
    ranked.sort((a, b) => b.last - a.last || (a.one.key < b.one.key ? -1 : 1));
    return ranked.map(({ one }) => one);
  }

  /** @param {Record<string, string>} labels */
  #get(labels) {
    const key = seriesKey(labels);
    let series = this.series.get(key);
    if (!series) {
      if (this.series.size >= MAX_SERIES) {
        if (this.unkept === 0 && this.unkeptKeys.size < 10_000) this.unkeptKeys.add(key);
        return null;
      }
      series = new Series(labels ?? {}, this.step, this.rate);
      this.series.set(key, series);
    }
    return series;
  }

  /** @returns {number} Time of the newest point of any series, in seconds. */
  get newest() {
    let newest = 0;
    for (const one of this.series.values()) newest = Math.max(newest, one.newest);
    return newest;
  }

  /** @returns {number} Series that exist but are not kept. */
  get hidden() {
    return this.unkept || this.unkeptKeys.size;
  }
}

/** @param {[number, number|null][]} points */
function lastNumber(points) {
  const value = points.length ? points[points.length - 1][1] : null;
  return value ?? -Infinity;
}

/**
 * Columns for the chart: one of times, and one of values for each series. A time that a series has no point at is
 * undefined there, and its line goes through; null interrupts it.
 *
 * @param {Series[]} series
 * @returns {[number[], ...(number|null|undefined)[][]]}
 */
export function columns(series) {
  const tracks = series.map((one) => one.points());
  const times = Float64Array.from(new Set(tracks.flatMap((track) => track.times))).sort();
  const place = new Map();
  times.forEach((time, index) => place.set(time, index));
  const ys = tracks.map((track) => {
    const column = new Array(times.length).fill(undefined);
    track.times.forEach((time, index) => {
      column[place.get(time)] = track.values[index];
    });
    return column;
  });
  return [Array.from(times), ...ys];
}
