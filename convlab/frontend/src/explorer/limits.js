/**
 * What each setting may be, given the others, and why not more.
 * convlab/frontend/conv_settings.py holds the same rules for Python; a test compares every number and sentence.
 *
 * @typedef {import("./geometry.js").Settings} Settings
 * @typedef {{low: number, high: number, whyLow: string, whyHigh: string}} Limit
 * @typedef {{name: string, reason: string, works: number|string}} Problem
 */
import { pads, span } from "./geometry.js";

// What the picture can hold legibly, by `dims`.
const MAX_INPUT = { 1: 32, 2: 16 };
const MAX_KERNEL = { 1: 11, 2: 7 };
const MAX_PAINTED = { 1: 48, 2: 24 };
const MAX_STEP = 6;
export const MAX_CHANNELS = 4;

export const SIZES = ["input_size", "kernel_size", "stride", "dilation", "padding"];
export const CHANNELS = ["in_channels", "out_channels", "groups"];

/** The least and the greatest value that can be drawn, whatever the others are. @returns {[number, number]} */
export function drawn(s, name) {
  if (CHANNELS.includes(name)) return [1, MAX_CHANNELS];
  const most = name === "input_size" ? MAX_INPUT : name === "kernel_size" ? MAX_KERNEL : {};
  return [name === "padding" ? 0 : 1, most[s.dims] ?? MAX_STEP];
}

/** Bounds of one of SIZES, all others as they are; of `padding`, those of a number. @returns {Limit} */
export function limit(s, name) {
  if (name === "padding" && typeof s.padding === "string") return limit({ ...s, padding: 0 }, name);
  let { low, high, whyLow, whyHigh } = s.transposed ? painted(s, name) : fitted(s, name);
  const [least, most] = drawn(s, name);
  const drawable = `the explorer draws ${name} from ${least} to ${most} in ${s.dims}-D`;
  if (low === undefined || low <= least) [low, whyLow] = [least, drawable];
  if (high === undefined || high >= most) [high, whyHigh] = [most, drawable];
  return { low, high, whyLow, whyHigh };
}

/** Bounds of a convolution: the kernel's span fits into the input with its padding. @returns {Partial<Limit>} */
function fitted(s, name) {
  const { input_size: n, kernel_size: k, dilation: d } = s;
  const added = pads(s)[0] + pads(s)[1];
  const room = n + added;
  const same = s.padding === "same";
  const has = `and the input with its padding has ${room} px`;
  if (name === "input_size" && !same) {
    return { low: span(s) - added, whyLow: `the kernel spans ${span(s)} px and the padding adds ${added} px` };
  }
  if (name === "kernel_size" && !same) {
    const high = Math.floor((room - 1) / d) + 1;
    return { high, whyHigh: `a kernel of ${high + 1} would span ${d * high + 1} px ${has}` };
  }
  if (name === "dilation" && !same && k > 1) {
    const high = Math.floor((room - 1) / (k - 1));
    return { high, whyHigh: `at ${high + 1} the kernel would span ${(high + 1) * (k - 1) + 1} px ${has}` };
  }
  if (name === "padding") {
    return {
      low: Math.floor((span(s) - n + 1) / 2),
      whyLow: `the kernel spans ${span(s)} px and the input has ${n} px`,
    };
  }
  if (name === "stride" && same) return { high: 1, whyHigh: noSame({ ...s, stride: 2 }) };
  return {};
}

/** Bounds of a transposed convolution: something is left after cropping, and the picture can hold it. */
function painted(s, name) {
  const { input_size: n, kernel_size: k, stride, dilation: d } = s;
  const full = (n - 1) * stride + span(s);
  const most = MAX_PAINTED[s.dims];
  const crop = pads(s)[0] + pads(s)[1];
  const whyLow = `padding crops ${crop} px and no output would be left`;
  const whyHigh = `the output before cropping would have more than ${most} px, too large to draw`;
  const { floor } = Math;
  if (name === "input_size") {
    return { low: 1 - floor((span(s) - crop - 1) / stride), high: floor((most - span(s)) / stride) + 1, whyLow, whyHigh };
  }
  const rest = (n - 1) * stride;
  if (name === "kernel_size") {
    return { low: 1 - floor((rest - crop) / d), high: floor((most - 1 - rest) / d) + 1, whyLow, whyHigh };
  }
  if (name === "stride" && n > 1) {
    const low = -floor((span(s) - crop - 1) / (n - 1));
    return { low, high: floor((most - span(s)) / (n - 1)), whyLow, whyHigh };
  }
  if (name === "dilation" && k > 1) {
    return { low: -floor((rest - crop) / (k - 1)), high: floor((most - 1 - rest) / (k - 1)), whyLow, whyHigh };
  }
  if (name === "padding") {
    const why = `the output has ${full} px before padding crops it on both sides, and one must be left`;
    return { high: floor((full - 1) / 2), whyHigh: why };
  }
  return {};
}

/** The number nearest to what padding="same" promises: ceil(input_size / stride) outputs. @param {Settings} s */
export function nearestPadding(s) {
  const promise = Math.ceil(s.input_size / s.stride);
  const { low, high } = limit(s, "padding");
  let best = low;
  let least = [Infinity, Infinity];
  for (let padding = low; padding <= high; padding++) {
    const output = Math.floor((s.input_size + 2 * padding - span(s)) / s.stride) + 1;
    const distance = [Math.abs(output - promise), Math.abs(2 * padding - span(s) + 1)];
    if (distance[0] < least[0] || (distance[0] === least[0] && distance[1] < least[1])) {
      [best, least] = [padding, distance];
    }
  }
  return best;
}

/** Why torch has no padding="same" here, and what comes nearest. @param {Settings} s */
export function noSame(s) {
  const nearest = nearestPadding(s);
  const output = Math.floor((s.input_size + 2 * nearest - span(s)) / s.stride) + 1;
  return (
    `torch has no padding='same' with a stride above 1; with stride ${s.stride}, ` +
    `padding=${nearest} comes nearest and gives ${output} px`
  );
}

/** What is wrong with padding "same" or "valid" here; null when nothing is. @param {Settings} s @returns {?Problem} */
export function paddingProblem(s) {
  const { low, high } = limit(s, "padding");
  if (s.transposed) {
    const reason = "torch's transposed convolution takes a number for padding";
    return { name: "padding", reason, works: Math.min(pads(s)[0], high) };
  }
  if (s.padding === "same" && s.stride > 1) {
    return { name: "padding", reason: noSame(s), works: nearestPadding(s) };
  }
  if (s.padding === "valid" && span(s) > s.input_size) {
    const reason = `the kernel spans ${span(s)} px and the input has ${s.input_size} px`;
    return { name: "padding", reason, works: low > high ? "same" : low };
  }
  return null;
}

/** Whether one of CHANNELS may have `value`, the other two as they are. @param {Settings} s */
export function works(s, name, value) {
  if (name === "groups") return s.in_channels % value === 0 && s.out_channels % value === 0;
  return value % s.groups === 0;
}

/** Why `name` cannot be `value`, the others as they are; null when it can. @param {Settings} s @returns {?Problem} */
export function problem(s, name, value) {
  const wanted = { ...s, [name]: value };
  if (typeof value === "string") return paddingProblem(wanted);
  const [least, most] = drawn(s, name);
  if (value < least || value > most) {
    const reason = `the explorer draws ${name} from ${least} to ${most} in ${s.dims}-D`;
    const nearest = Math.min(Math.max(value, least), most);
    // What can be drawn at all need not go with the others: then that has the last word on what works.
    return { name, reason, works: problem(s, name, nearest)?.works ?? nearest };
  }
  if (CHANNELS.includes(name)) return channelProblem(wanted, name, value);
  const { low, high, whyLow, whyHigh } = limit(wanted, name);
  if (value < low) return { name, reason: whyLow, works: low > high ? "same" : low };
  return value > high ? { name, reason: whyHigh, works: high } : null;
}

/** @param {Settings} s @returns {?Problem} */
function channelProblem(s, name, value) {
  if (works(s, name, value)) return null;
  const reason =
    name === "groups"
      ? `groups must divide in_channels (${s.in_channels}) and out_channels (${s.out_channels})`
      : `groups=${s.groups} must divide ${name}`;
  let best = 0;
  for (let option = MAX_CHANNELS; option >= 1; option--) {
    if (works(s, name, option) && (!best || Math.abs(option - value) <= Math.abs(best - value))) best = option;
  }
  return { name, reason, works: best };
}

/** Whether all settings go together. @param {Settings} s */
export function possible(s) {
  return [...SIZES, ...CHANNELS].every((name) => problem(s, name, s[name]) === null);
}
