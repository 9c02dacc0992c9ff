/**
 * What is lit, in words and real numbers.
 * @typedef {import("./geometry.js").Settings} Settings
 * @typedef {import("./picture.js").Focus} Focus
 * @typedef {import("./picture.js").Channels} Channels
 * @typedef {{text: string, faint?: boolean}} Word
 */
import { el, written } from "./dom.js";
import { outputSize } from "./geometry.js";
import { biasValue, channelsSeen, inputValue, outputValue, terms, weightValue } from "./numbers.js";
import { inside, tapsOf } from "./picture.js";

const signed = (value) => (value < 0 ? `(${written(value)})` : written(value));
const place = (name, at) => `${name}[${at.join(", ")}]`;
const times = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

/** @param {Settings} s @param {Focus} focus @param {Channels} channels @returns {Word[][]} lines; the first is the heading */
export function readout(s, focus, channels) {
  if (focus.kind === "output") return ofOutput(s, focus.at, channels);
  if (!channelsSeen(s, channels.out).includes(channels.into)) {
    return [[{ text: `With groups=${s.groups}, output channel ${channels.out} does not see input channel ${channels.into}.` }]];
  }
  return focus.kind === "input" ? ofInput(s, focus, channels) : ofWeight(s, focus, channels);
}

function ofOutput(s, at, channels) {
  const list = terms(s, channels.out, at);
  const value = outputValue(s, channels.out, at);
  const head = { text: `${place("output", at)} = ${written(value)}` };
  const lines = list.map(({ channel, terms: products }) => {
    const sum = products.reduce((total, { pixel, value: weight }) => total + pixel * weight, 0);
    const words = products.flatMap(({ pixel, value: weight, padding }, index) => [
      ...(index ? [{ text: " + " }] : []),
      { text: `${pixel}\u00d7${signed(weight)}`, faint: padding },
    ]);
    const lead = s.in_channels > 1 ? `channel ${channel}: ` : "";
    const nothing = products.length ? [] : [{ text: "no input pixel reaches this place: 0" }];
    return [{ text: lead }, ...words, ...nothing, { text: ` = ${written(sum)}` }];
  });
  const bias = biasValue(channels.out);
  const sums = s.in_channels / s.groups > 1 ? "channels together " : "";
  const last = `${sums}${written(value - bias)} + bias ${signed(bias)} = ${written(value)}`;
  return [[head], ...lines, [{ text: last }]];
}

function ofInput(s, focus, channels) {
  const value = inputValue(s, channels.into, focus.at);
  const taps = tapsOf(s, focus);
  const size = outputSize(s);
  // Taps come in the order of the weights, which is that of the outputs turned round.
  const kept = taps.filter((tap) => inside(tap.output, size));
  if (!s.transposed) kept.reverse();
  const name = `${place("input", focus.at)} = ${value}`;
  const products = kept.flatMap((tap, index) => {
    const weight = weightValue(channels.out, channels.into, tap.weight);
    return [
      ...(index ? [{ text: ",  " }] : []),
      { text: `${place("output", tap.output)} += ${value}\u00d7${signed(weight)}` },
    ];
  });
  if (s.transposed) {
    const lost = taps.length - kept.length;
    const cropped = lost ? `, ${lost} of them cropped away` : "";
    return [[{ text: `${name} paints the kernel over ${times(taps.length, "place")}${cropped}` }], products];
  }
  const share = `${kept.length} of ${size ** s.dims} outputs`;
  return [[{ text: kept.length ? `${name} is seen by ${share}` : `${name} is seen by no output: it counts for nothing` }], products];
}

function ofWeight(s, focus, channels) {
  const value = weightValue(channels.out, channels.into, focus.at);
  const taps = tapsOf(s, focus);
  const name = `${place("weight", focus.at)} = ${written(value)}`;
  if (s.transposed) {
    const lost = taps.filter((tap) => !inside(tap.output, outputSize(s))).length;
    const where = lost ? `, ${times(lost, "time")} into what is cropped away` : "";
    return [[{ text: `${name} is used ${times(taps.length, "time")}: once for each input pixel${where}` }]];
  }
  const padding = taps.filter((tap) => !inside(tap.input, s.input_size)).length;
  const where = padding ? `, ${times(padding, "time")} on padding` : "";
  return [[{ text: `${name} is used ${times(taps.length, "time")}: once for each output pixel${where}` }]];
}

/** The box that shows it; its height never changes. */
export class Readout {
  constructor() {
    this.element = el("div", { class: "cx-readout", "aria-live": "polite", tabindex: "0", "aria-label": "The numbers" });
  }

  /** @param {Word[][]} lines */
  show(lines) {
    const rows = lines.map((words, index) => {
      const spans = words.map(({ text, faint }) => (faint ? el("span", { class: "cx-faint" }, text) : text));
      return el("div", { class: index ? "cx-sum" : "cx-head" }, ...spans);
    });
    this.element.replaceChildren(...rows);
  }
}
