// The span of an axis, from the least and greatest value in view; null stands for "nothing in view".

/**
 * @param {number | null} low
 * @param {number | null} high
 * @returns {[number, number]} from zero up, unless the values fill only a thin band; no thinner than four digits tell
 */
export function lossRange(low, high) {
  if (low === null || high === null) return [0, 1];
  const pad = Math.max((high - low || Math.abs(high) || 1) * 0.05, Math.abs(high) * 5e-4);
  const fromZero = low >= 0 && low <= 0.6 * high;
  return [fromZero ? 0 : low - pad, high + pad];
}

/**
 * @param {number | null} low
 * @param {number | null} high
 * @returns {[number, number]} for a logarithmic axis: the 1-2-5 steps around the values, and no less than a decade
 */
export function logLossRange(low, high) {
  if (low === null || high === null || low <= 0) return [0.01, 1];
  const floor = 10 ** Math.floor(Math.log10(low));
  const ceil = 10 ** Math.floor(Math.log10(high));
  const bottom = [5, 2, 1].map((m) => m * floor).find((v) => v <= low) ?? floor;
  const top = [1, 2, 5, 10].map((m) => m * ceil).find((v) => v >= high) ?? 10 * ceil;
  return top / bottom >= 10 ? [bottom, top] : [floor, Math.max(top, 10 * floor)];
}

/**
 * @param {number | null} low
 * @param {number | null} high
 * @returns {[number, number]} from zero, or from a round tenth when all lies in the upper half; the top has room for
 *   a line at 100 %
 */
export function accuracyRange(low, high) {
  const bottom = low === null || high === null || low < 0.5 ? 0 : Math.min(0.9, Math.floor(low * 10) / 10);
  return [bottom, 1 + 0.03 * (1 - bottom)];
}

/**
 * Which ticks of a logarithmic axis bear a number: 1, 2 and 5 on up to two decades, else the powers of ten.
 * @param {number[]} ticks ascending
 * @returns {(number | null)[]}
 */
export function logTicks(ticks) {
  const digits = ticks[ticks.length - 1] / ticks[0] <= 200 ? "125" : "1";
  return ticks.map((tick) => (digits.includes(tick.toExponential(0)[0]) ? tick : null));
}
