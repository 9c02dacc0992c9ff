/** @param {number[]} dims */
export const size = (dims) => dims.join("×");

const english = new Intl.NumberFormat("en-US");

/** @param {number} value */
export const count = (value) => english.format(value);

/**
 * Three digits are enough to compare by; a tooltip has them all.
 * @param {number} value
 */
export function short(value) {
  if (value < 1e5) return count(value);
  const [unit, name] = /** @type {[number, string]} */ (value < 999.5e3 ? [1e3, "k"] : value < 999.5e6 ? [1e6, "M"] : [1e9, "G"]);
  return `${(value / unit).toPrecision(3)} ${name}`;
}

/** @param {number} bytes */
export function memory(bytes) {
  if (bytes < 1e3) return `${bytes} B`;
  const [unit, name] = /** @type {[number, string]} */ (bytes < 999.5e3 ? [1e3, "kB"] : [1e6, "MB"]);
  const value = bytes / unit;
  return `${value < 999.5 ? value.toPrecision(3) : count(Math.round(value))} ${name}`;
}

/** @param {string} text  a field in Python's words, "3 x 3" */
export const field = (text) => text.replaceAll(" x ", "×");
