/**
 * Exponential moving average with bias correction (Kingma & Ba 2015, section 3), for points at uneven steps.
 *
 * `weight` is what one step leaves of the past: between two points that lie d steps apart the past decays by
 * weight ** d. So the curve is the same whether the points came one by one or were thinned out before.
 * @param {number[]} xs steps, ascending
 * @param {(number | null)[]} ys null is a gap: it stays one and is not averaged
 * @param {number} weight from 0 (no smoothing) to below 1
 * @returns {(number | null)[]}
 */
export function smooth(xs, ys, weight) {
  let sum = 0;
  let norm = 0;
  let previous = -Infinity;
  return ys.map((y, i) => {
    if (y === null) return null;
    const keep = previous === -Infinity ? weight : weight ** (xs[i] - previous);
    previous = xs[i];
    sum = keep * sum + (1 - keep) * y;
    norm = keep * norm + (1 - keep);
    return sum / norm;
  });
}
