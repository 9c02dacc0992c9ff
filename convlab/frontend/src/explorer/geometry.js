/**
 * Closed forms of one convolution along one axis: all axes of the explorer are alike.
 * Sources: torch's formulas for output sizes; Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional
 * Networks", Distill 2019; Keras' published rule for padding="same".
 *
 * @typedef {Object} Settings
 * @property {1|2} dims
 * @property {number} input_size pixels
 * @property {number} kernel_size
 * @property {number} stride
 * @property {number|"same"|"valid"} padding
 * @property {number} dilation
 * @property {number} groups
 * @property {number} in_channels
 * @property {number} out_channels
 * @property {boolean} transposed
 *
 * @typedef {{input: number, weight: number, output: number}} Tap an input pixel, the weight it meets, and where the
 *   product goes; input is outside 0..input_size-1 on padding, output outside 0..outputSize-1 where it is cropped.
 */

/** Pixels from the first to the last tap of the kernel. @param {Settings} s */
export function span(s) {
  return s.dilation * (s.kernel_size - 1) + 1;
}

/** Pixels added (transposed: cropped) before and after. @param {Settings} s @returns {[number, number]} */
export function pads(s) {
  if (s.padding === "same") return [Math.floor((span(s) - 1) / 2), Math.floor(span(s) / 2)];
  return s.padding === "valid" ? [0, 0] : [s.padding, s.padding];
}

/** Output pixels before padding crops them; of a transposed convolution. @param {Settings} s */
export function paintedSize(s) {
  return (s.input_size - 1) * s.stride + span(s);
}

/** @param {Settings} s */
export function outputSize(s) {
  const [before, after] = pads(s);
  if (s.transposed) return paintedSize(s) - before - after;
  return Math.floor((s.input_size + before + after - span(s)) / s.stride) + 1;
}

/** Padded pixels after the last window: no output sees them. @param {Settings} s */
export function unseen(s) {
  const [before, after] = pads(s);
  return s.transposed ? 0 : (s.input_size + before + after - span(s)) % s.stride;
}

/** @param {Settings} s @returns {{weights: number, biases: number, total: number}} */
export function numParams(s) {
  const weights = ((s.in_channels * s.out_channels) / s.groups) * s.kernel_size ** s.dims;
  return { weights, biases: s.out_channels, total: weights + s.out_channels };
}

/** Products of a weight and a pixel, padding's zeros counted, bias not. @param {Settings} s */
export function multAdds(s) {
  const places = s.transposed ? s.input_size : outputSize(s);
  return numParams(s).weights * places ** s.dims;
}

/**
 * Of one layer, borders left aside: `size` in input pixels; `jump`, input pixels between neighbouring outputs; `start`,
 * the centre of the first output's field, where input pixel 0 is centred at 0.5.
 * The outputs of a transposed convolution are of `stride` kinds, which see different numbers of pixels: `size` is the
 * largest, `start` that of the first kind that sees anything.
 * @param {Settings} s
 */
export function receptiveField(s) {
  const [before] = pads(s);
  if (!s.transposed) return { size: span(s), jump: s.stride, start: 0.5 - before + (span(s) - 1) / 2 };
  let size = 0;
  let start = null;
  for (let phase = 0; phase < s.stride; phase++) {
    const places = [...Array(s.kernel_size).keys()].map((weight) => phase + before - weight * s.dilation);
    const pixels = places.filter((place) => place % s.stride === 0).map((place) => place / s.stride);
    if (!pixels.length) continue;
    size = Math.max(size, pixels[0] - pixels.at(-1) + 1);
    start ??= (pixels[0] + pixels.at(-1) + 1) / 2 - phase / s.stride;
  }
  return { size, jump: 1 / s.stride, start };
}

/** How Keras (and TensorFlow) pad for padding="same". @param {Settings} s */
export function kerasSame(s) {
  const output = Math.ceil(s.input_size / s.stride);
  const total = Math.max((output - 1) * s.stride + span(s) - s.input_size, 0);
  const before = Math.floor(total / 2);
  return { output, before, after: total - before };
}

/** Output `output` and weight `weight` meet this input pixel; null where there is none. @param {Settings} s */
export function inputOf(s, output, weight) {
  const [before] = pads(s);
  if (!s.transposed) return output * s.stride - before + weight * s.dilation;
  const place = output + before - weight * s.dilation;
  return place % s.stride === 0 && place >= 0 && place / s.stride < s.input_size ? place / s.stride : null;
}

/** What an output is the sum of. @param {Settings} s @returns {Tap[]} */
export function tapsOfOutput(s, output) {
  const taps = [];
  for (let weight = 0; weight < s.kernel_size; weight++) {
    const input = inputOf(s, output, weight);
    if (input !== null) taps.push({ input, weight, output });
  }
  return taps;
}

/** Where an input pixel goes; cropped places of a transposed convolution included. @param {Settings} s @returns {Tap[]} */
export function tapsOfInput(s, input) {
  const [before] = pads(s);
  const taps = [];
  for (let weight = 0; weight < s.kernel_size; weight++) {
    if (s.transposed) {
      taps.push({ input, weight, output: input * s.stride - before + weight * s.dilation });
      continue;
    }
    const place = input + before - weight * s.dilation;
    const output = place / s.stride;
    if (place % s.stride === 0 && output >= 0 && output < outputSize(s)) taps.push({ input, weight, output });
  }
  return taps;
}

/** Everywhere a weight is used. @param {Settings} s @returns {Tap[]} */
export function tapsOfWeight(s, weight) {
  const [before] = pads(s);
  const taps = [];
  const steps = s.transposed ? s.input_size : outputSize(s);
  for (let step = 0; step < steps; step++) {
    const other = step * s.stride - before + weight * s.dilation;
    taps.push(s.transposed ? { input: step, weight, output: other } : { input: other, weight, output: step });
  }
  return taps;
}
