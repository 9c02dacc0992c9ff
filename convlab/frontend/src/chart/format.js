// Numbers as a person reads them.

/** @param {number} step */
export const formatStep = (step) => Math.round(step).toLocaleString("en");

/** @param {number} loss four digits, whatever the magnitude */
export function formatLoss(loss) {
  if (loss === 0) return "0";
  const size = Math.abs(loss);
  return size >= 1e-4 && size < 1e5 ? loss.toPrecision(4) : loss.toExponential(2);
}

/** @param {number} accuracy from 0 to 1 */
export const formatAccuracy = (accuracy) => `${(100 * accuracy).toFixed(1)} %`;

/** @param {number} rate a learning rate, without zeros that say nothing */
export function formatRate(rate) {
  const short = Number(rate.toPrecision(3));
  return short !== 0 && Math.abs(short) < 1e-4 ? short.toExponential() : String(short);
}

/**
 * A number on an axis, with as many digits as tell it from its neighbours.
 * @param {number} value
 * @param {number} increment between neighbours
 */
export function formatTick(value, increment) {
  const needed = Math.floor(Math.log10(Math.abs(value) || 1)) - Math.floor(Math.log10(increment || 1)) + 1;
  const short = Number(value.toPrecision(Math.min(12, Math.max(3, needed))));
  const size = Math.abs(short);
  return size !== 0 && (size < 1e-4 || size >= 1e6) ? short.toExponential() : String(short);
}
