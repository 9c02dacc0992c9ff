/**
 * What the kernel sends: names and lengths in JSON, the numbers of all series in one buffer of float64, for each
 * series its steps and then its values.
 * @typedef {[name: string, length: number][]} Header
 * @typedef {Map<string, {x: Float64Array, y: Float64Array}>} Points
 */

/**
 * @param {Header} header
 * @param {DataView | ArrayBuffer | undefined} buffer
 * @returns {Points}
 */
export function unpack(header, buffer) {
  /** @type {Points} */
  const points = new Map();
  const numbers = floats(buffer);
  let start = 0;
  for (const [name, length] of header) {
    points.set(name, {
      x: numbers.subarray(start, start + length),
      y: numbers.subarray(start + length, start + 2 * length),
    });
    start += 2 * length;
  }
  return points;
}

/** @param {DataView | ArrayBuffer | undefined} buffer */
export function floats(buffer) {
  if (!buffer) return new Float64Array();
  if (buffer instanceof ArrayBuffer) return new Float64Array(buffer);
  // A view may begin anywhere in its message; Float64Array must begin at a multiple of eight.
  return new Float64Array(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength));
}
