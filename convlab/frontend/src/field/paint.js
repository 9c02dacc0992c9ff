/**
 * @typedef {{size: [number, number], picture: Uint8Array, box: number[], local: number[], effective: Uint8Array,
 *   theory: string, effect: string, units: [number, number], unit: [number, number], features: Uint8Array,
 *   title: string}} Field
 */

const BLUE = "#0072b2";
const ORANGE = [213, 94, 0];

/**
 * Gives a canvas the largest whole number of the screen's dots for each pixel that fits into `side` CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {number} rows
 * @param {number} columns
 * @param {number} side
 */
export function fit(canvas, rows, columns, side) {
  const dots = side * devicePixelRatio;
  const scale = Math.max(1, Math.floor(dots / Math.max(rows, columns)));
  const [width, height] = [columns * scale, rows * scale];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const shrink = Math.min(1, dots / Math.max(width, height)) / devicePixelRatio;
  canvas.style.width = `${width * shrink}px`;
  canvas.style.height = `${height * shrink}px`;
  return scale;
}

/**
 * The picture, tinted where the effective field is strong.
 * @param {Field} field
 */
export function tinted({ size: [height, width], picture, effective }) {
  const glows = effective.length === height * width;
  return image(height, width, (pixel, channel) => {
    const glow = glows ? 0.85 * (effective[pixel] / 255) : 0;
    return picture[3 * pixel + channel] * (1 - glow) + ORANGE[channel] * glow;
  });
}

/**
 * The layer's units in grey, brighter where they are more active.
 * @param {Field} field
 */
export function grid({ units: [rows, columns], features }) {
  const known = features.length === rows * columns;
  return image(rows, columns, (pixel) => (known ? 40 + 0.75 * features[pixel] : 150));
}

/**
 * @param {number} height
 * @param {number} width
 * @param {(pixel: number, channel: number) => number} value
 */
function image(height, width, value) {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const made = context.createImageData(width, height);
  for (let pixel = 0; pixel < height * width; pixel++) {
    for (let channel = 0; channel < 3; channel++) made.data[4 * pixel + channel] = value(pixel, channel);
    made.data[4 * pixel + 3] = 255;
  }
  context.putImageData(made, 0, 0);
  return canvas;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {OffscreenCanvas} source
 */
export function enlarge(canvas, source) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingEnabled = false;
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return context;
}

/**
 * A blue frame with a white seam, to be seen on any picture.
 * @param {CanvasRenderingContext2D} context
 * @param {number[]} box  first row, last row, first column, last column
 * @param {number} scale
 * @param {{dashed?: boolean, width?: number}} [style]
 */
export function frame(context, box, scale, { dashed = false, width = 3 } = {}) {
  const [top, bottom, left, right] = edges(box, scale);
  const lines = /** @type {[string, number][]} */ ([["#fff", width + 2], [BLUE, width]]);
  for (const [color, line] of lines) {
    context.strokeStyle = color;
    context.lineWidth = Math.min(line * devicePixelRatio, (right - left) / 2, (bottom - top) / 2);
    context.setLineDash(dashed ? [6 * devicePixelRatio, 4 * devicePixelRatio] : []);
    const inset = context.lineWidth / 2;
    context.strokeRect(left + inset, top + inset, right - left - 2 * inset, bottom - top - 2 * inset);
  }
  context.setLineDash([]);
}

/**
 * What lies outside of the box, dimmed.
 * @param {CanvasRenderingContext2D} context
 * @param {number[]} box
 * @param {number} scale
 */
export function dim(context, box, scale) {
  const [top, bottom, left, right] = edges(box, scale);
  const { width, height } = context.canvas;
  context.fillStyle = "rgba(0, 0, 0, 0.45)";
  context.fillRect(0, 0, width, top);
  context.fillRect(0, bottom, width, height - bottom);
  context.fillRect(0, top, left, bottom - top);
  context.fillRect(right, top, width - right, bottom - top);
}

/**
 * @param {number[]} box
 * @param {number} scale
 */
const edges = ([top, bottom, left, right], scale) => [top * scale, (bottom + 1) * scale, left * scale, (right + 1) * scale];
