/**
 * The index of the point nearest to a place on the axis.
 * @param {number[]} xs rising
 * @param {number} x
 * @param {boolean} log whether distances are ratios
 * @returns {number} -1 without points
 */
export function nearest(xs, x, log) {
  const place = (/** @type {number} */ value) => (log ? Math.log(value) : value);
  let best = -1;
  let least = Infinity;
  for (let i = 0; i < xs.length; i++) {
    const distance = Math.abs(place(xs[i]) - place(x));
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

/**
 * Adds a point to a trace drawn by hand: what was drawn at or past its x before is drawn over.
 * @param {[number, number][]} trace rising in x
 * @param {number} x
 * @param {number} y
 * @param {number} from x of the hand before: all between is drawn over
 * @returns {[number, number][]}
 */
export function drawnOver(trace, x, y, from) {
  const [low, high] = from <= x ? [from, x] : [x, from];
  const kept = trace.filter(([at]) => at < low || at > high || (at === from && at !== x));
  return [...kept, /** @type {[number, number]} */ ([x, y])].sort((a, b) => a[0] - b[0]);
}
