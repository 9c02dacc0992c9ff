/** @typedef {[number, number]} Pixel row and column */

/**
 * A pixel some rows and columns on, kept inside the picture.
 * @param {Pixel} from
 * @param {Pixel} by
 * @param {Pixel} size
 * @returns {Pixel}
 */
export function moved(from, by, size) {
  const kept = (/** @type {0 | 1} */ axis) => Math.min(Math.max(from[axis] + by[axis], 0), size[axis] - 1);
  return [kept(0), kept(1)];
}

/**
 * The pixels on the straight way from one to another, without the first: a fast hand skips some.
 * @param {Pixel} from
 * @param {Pixel} to
 * @returns {Pixel[]}
 */
export function between(from, to) {
  const steps = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
  const on = (/** @type {0 | 1} */ axis, /** @type {number} */ step) =>
    Math.round(from[axis] + ((to[axis] - from[axis]) * step) / steps);
  return Array.from({ length: steps }, (_, step) => [on(0, step + 1), on(1, step + 1)]);
}
