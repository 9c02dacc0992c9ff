/**
 * `dims` and `transposed` are switches: one can be thrown although other settings then have to move.
 * @typedef {import("./geometry.js").Settings} Settings
 */
import { drawn, limit, possible, problem, SIZES } from "./limits.js";
import { pads } from "./geometry.js";

// Given up first comes first: the input's size is what a person would miss most. Cropping yields before anything else,
// while more padding only comes after the kernel has closed its gaps.
const YIELDING = {
  true: ["padding", "dilation", "stride", "kernel_size", "input_size"],
  false: ["dilation", "stride", "padding", "kernel_size", "input_size"],
};

/**
 * The settings nearest to `wanted` that go together.
 * @param {Settings} wanted
 * @returns {{settings: Settings, moved: {name: string, from: number|string, to: number|string}[]}}
 */
export function fit(wanted) {
  const settings = { ...wanted };
  if (settings.transposed && typeof settings.padding === "string") settings.padding = pads(settings)[0];
  for (const name of SIZES) {
    if (typeof settings[name] === "number") {
      const [least, most] = drawn(settings, name);
      settings[name] = Math.min(Math.max(settings[name], least), most);
    }
  }
  // A setting moves as far as it can towards its bound; the next one goes on where that was not enough.
  for (const name of YIELDING[settings.transposed]) {
    if (possible(settings)) break;
    if (typeof settings[name] !== "number" || !problem(settings, name, settings[name])) continue;
    const [least] = drawn(settings, name);
    const { low, high } = limit(settings, name);
    settings[name] = Math.max(least, Math.min(Math.max(settings[name], low), high));
  }
  const moved = SIZES.filter((name) => settings[name] !== wanted[name]);
  return { settings, moved: moved.map((name) => ({ name, from: wanted[name], to: settings[name] })) };
}
