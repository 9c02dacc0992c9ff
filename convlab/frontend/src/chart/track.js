// A curve in bounded memory.

/**
 * The points of one curve, at most `limit` buckets of them whatever the length of the run.
 *
 * While there is room a bucket is a point. When there is none, neighbours are merged on a grid of steps that doubles
 * its width each time, so that resolution is the same along the whole curve. A bucket keeps its extremes, which lets
 * a spike survive, and its mean, which lets smoothing stay unbiased. Non-finite values are kept as gaps until they
 * are merged with finite ones.
 */
export class Track {
  /** @param {number} limit most buckets to hold, at least 2 */
  constructor(limit = 4096) {
    this.limit = limit;
    this.width = 0;
    /** @type {Bucket[]} */
    this.buckets = [];
  }

  /** Number of points that a line through this track has, at most. */
  get length() {
    return this.buckets.length;
  }

  /**
   * Adds points in order of x. A point at or before the last one takes the place of all from there on: that is how
   * a run that was rewound, or a message that arrives twice, comes out right.
   * @param {ArrayLike<number>} xs
   * @param {ArrayLike<number>} ys
   */
  append(xs, ys) {
    for (let i = 0; i < xs.length; i++) {
      if (!Number.isFinite(xs[i])) continue;
      if (this.buckets.length && xs[i] <= this.last.maxStep) this.truncate(xs[i]);
      this.#add(bucketOf(xs[i], ys[i]));
      if (this.buckets.length > this.limit) this.#coarsen();
    }
  }

  /** @param {number} x forget every bucket that reaches x or lies beyond it */
  truncate(x) {
    while (this.buckets.length && this.last.maxStep >= x) this.buckets.pop();
  }

  get last() {
    return this.buckets[this.buckets.length - 1];
  }

  /** @returns {[number[], (number | null)[]]} x and y of the line through the extremes */
  extremes() {
    /** @type {number[]} */
    const xs = [];
    /** @type {(number | null)[]} */
    const ys = [];
    for (const b of this.buckets) {
      if (b.count === 0) {
        xs.push(b.minStep);
        ys.push(null);
      } else if (b.lowX === b.highX) {
        xs.push(b.lowX);
        ys.push(b.low);
      } else if (b.lowX < b.highX) {
        xs.push(b.lowX, b.highX);
        ys.push(b.low, b.high);
      } else {
        xs.push(b.highX, b.lowX);
        ys.push(b.high, b.low);
      }
    }
    return [xs, ys];
  }

  /** @returns {[number[], (number | null)[]]} x and y of the line through the means */
  means() {
    return [
      this.buckets.map((b) => (b.count ? b.sumX / b.count : b.minStep)),
      this.buckets.map((b) => (b.count ? b.sumY / b.count : null)),
    ];
  }

  /**
   * The value at a step: of the last bucket that begins at or before it.
   * @param {number} x
   * @returns {number | null} the mean of the bucket; null where there is none
   */
  at(x) {
    let low = 0;
    let high = this.buckets.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.buckets[middle].minStep <= x) low = middle + 1;
      else high = middle;
    }
    const bucket = this.buckets[low - 1];
    return bucket && bucket.count ? bucket.sumY / bucket.count : null;
  }

  /**
   * The greatest value of the first bucket that ends at or after a step.
   * @param {number} x
   * @returns {number | null} null where there is none
   */
  next(x) {
    return this.buckets.find((bucket) => bucket.maxStep >= x && bucket.count > 0)?.high ?? null;
  }

  /** @param {Bucket} bucket */
  #add(bucket) {
    const last = this.last;
    if (last && this.width && Math.floor(bucket.minStep / this.width) === Math.floor(last.minStep / this.width)) {
      merge(last, bucket);
    } else {
      this.buckets.push(bucket);
    }
  }

  #coarsen() {
    const all = this.buckets;
    const span = all[all.length - 1].minStep - all[0].minStep;
    const wanted = Math.max((2 * span) / this.limit, Number.MIN_VALUE);
    this.width = Math.max(2 * this.width, 2 ** Math.ceil(Math.log2(wanted)));
    this.buckets = [];
    for (const bucket of all) this.#add(bucket);
  }
}

/**
 * @typedef {{minStep: number, maxStep: number, lowX: number, low: number, highX: number, high: number,
 *   sumX: number, sumY: number, count: number}} Bucket
 */

/**
 * @param {number} x
 * @param {number} y
 * @returns {Bucket}
 */
function bucketOf(x, y) {
  const finite = Number.isFinite(y);
  return {
    minStep: x,
    maxStep: x,
    lowX: x,
    low: y,
    highX: x,
    high: y,
    sumX: finite ? x : 0,
    sumY: finite ? y : 0,
    count: finite ? 1 : 0,
  };
}

/**
 * @param {Bucket} into
 * @param {Bucket} from lies after `into`
 */
function merge(into, from) {
  into.maxStep = from.maxStep;
  if (from.count === 0) return;
  if (into.count === 0 || from.low < into.low) [into.lowX, into.low] = [from.lowX, from.low];
  if (into.count === 0 || from.high > into.high) [into.highX, into.high] = [from.highX, from.high];
  into.sumX += from.sumX;
  into.sumY += from.sumY;
  into.count += from.count;
}
