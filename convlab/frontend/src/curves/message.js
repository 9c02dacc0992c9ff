import { floats } from "../chart/message.js";

/**
 * One line as the kernel describes it.
 * @typedef {{name: string, length: number, colour: number, style: "solid" | "dash" | "faint" | "points",
 *   band: boolean}} Header
 * @typedef {Header & {x: number[], y: (number | null)[], low: (number | null)[], high: (number | null)[]}} Line
 */

/**
 * @param {Header[]} header
 * @param {DataView | ArrayBuffer | undefined} buffer of float64: of each line x, y and, with a band, low and high
 * @returns {Line[]}
 */
export function unpack(header, buffer) {
  const numbers = floats(buffer);
  let start = 0;
  const column = (/** @type {number} */ length) => numbers.subarray(start, (start += length));
  return header.map((line) => {
    const x = Array.from(column(line.length));
    const y = gaps(column(line.length));
    const [low, high] = line.band ? [gaps(column(line.length)), gaps(column(line.length))] : [[], []];
    return { ...line, x, y, low, high };
  });
}

/** @param {Float64Array} values */
const gaps = (values) => Array.from(values, (value) => (Number.isFinite(value) ? value : null));
