/**
 * The real numbers of the picture, and what the layer makes of them.
 * They hang on place and channel alone, so that a pixel keeps its number while the settings change.
 * @typedef {import("./geometry.js").Settings} Settings
 * @typedef {number[]} Index one entry an axis
 */
import { outputSize, tapsOfOutput } from "./geometry.js";

/** A whole number that looks random and is the same for the same arguments. */
function hash(...numbers) {
  let state = 2166136261;
  for (const number of numbers) {
    state = Math.imul(state ^ (number + 101), 16777619);
    state ^= state >>> 13;
    state = Math.imul(state, 1540483477);
  }
  return (state ^ (state >>> 15)) >>> 0;
}

/** An input pixel, 1 to 9: only padding is 0. @param {Settings} s @param {Index} at */
export function inputValue(s, channel, at) {
  if (at.some((place) => place < 0 || place >= s.input_size)) return 0;
  return (hash(1, channel, ...at) % 9) + 1;
}

/** A weight, -2 to 2; the seed is one that gives the first kernels weights of both signs. @param {number} out output channel @param {number} into input channel @param {Index} at */
export function weightValue(out, into, at) {
  return (hash(389, out, into, ...at) % 5) - 2;
}

export function biasValue(out) {
  return [1, -1, 2, 0][out];
}

/** Input channels that output channel `out` sees. @param {Settings} s @returns {number[]} */
export function channelsSeen(s, out) {
  const size = s.in_channels / s.groups;
  const group = Math.floor(out / (s.out_channels / s.groups));
  return Array.from({ length: size }, (_, index) => group * size + index);
}

/** Every combination of one item an axis. @template T @param {T[][]} axes @returns {T[][]} */
export function product(axes) {
  return axes.reduce((rows, axis) => rows.flatMap((row) => axis.map((item) => [...row, item])), [[]]);
}

/**
 * The products that make one output, an input channel at a time.
 * @param {Settings} s @param {number} out output channel @param {Index} at
 */
export function terms(s, out, at) {
  const places = product(at.map((output) => tapsOfOutput(s, output)));
  return channelsSeen(s, out).map((channel) => ({
    channel,
    terms: places.map((taps) => {
      const input = taps.map((tap) => tap.input);
      const weight = taps.map((tap) => tap.weight);
      return {
        input,
        weight,
        pixel: inputValue(s, channel, input),
        value: weightValue(out, channel, weight),
        padding: input.some((place) => place < 0 || place >= s.input_size),
      };
    }),
  }));
}

/** One output. @param {Settings} s @param {number} out output channel @param {Index} at */
export function outputValue(s, out, at) {
  let sum = biasValue(out);
  for (const { terms: list } of terms(s, out, at)) for (const { pixel, value } of list) sum += pixel * value;
  return sum;
}

/** The indices of a square of `size` pixels, or of a line. @param {Settings} s @returns {Index[]} */
export function places(s, size) {
  return product(Array.from({ length: s.dims }, () => [...Array(size).keys()]));
}

/** All outputs of a channel, row after row. @param {Settings} s */
export function outputs(s, out) {
  return places(s, outputSize(s)).map((at) => outputValue(s, out, at));
}
