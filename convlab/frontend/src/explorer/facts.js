/**
 * The formula filled in, the cost and the receptive field.
 * @typedef {import("./geometry.js").Settings} Settings
 */
import { el, written } from "./dom.js";
import { multAdds, numParams, outputSize, pads, receptiveField, span, unseen } from "./geometry.js";

const grouped = (number) => number.toLocaleString("en-US");

/** The formula of the output size: in names, and with the numbers of now. @param {Settings} s @returns {[string, string]} */
export function sizeFormula(s) {
  const { input_size: n, kernel_size: k, stride, dilation: d } = s;
  const [before, after] = pads(s);
  const result = `= ${outputSize(s)} px`;
  if (s.transposed) {
    return [
      "(input_size \u2212 1)\u00b7stride \u2212 2\u00b7padding + dilation\u00b7(kernel_size \u2212 1) + 1",
      `(${n} \u2212 1)\u00b7${stride} \u2212 2\u00b7${before} + ${d}\u00b7(${k} \u2212 1) + 1 ${result}`,
    ];
  }
  const rest = `${d}\u00b7(${k} \u2212 1) \u2212 1`;
  if (s.padding === "same") {
    return [
      "\u230a(input_size + before + after \u2212 dilation\u00b7(kernel_size \u2212 1) \u2212 1) / stride\u230b + 1",
      `\u230a(${n} + ${before} + ${after} \u2212 ${rest}) / ${stride}\u230b + 1 ${result}`,
    ];
  }
  return [
    "\u230a(input_size + 2\u00b7padding \u2212 dilation\u00b7(kernel_size \u2212 1) \u2212 1) / stride\u230b + 1",
    `\u230a(${n} + 2\u00b7${before} \u2212 ${rest}) / ${stride}\u230b + 1 ${result}`,
  ];
}

/** @param {Settings} s */
function paramsFormula(s) {
  const { weights, biases, total } = numParams(s);
  const kernel = Array(s.dims).fill(s.kernel_size).join("\u00b7");
  const parts = `${s.out_channels}\u00b7${s.in_channels}${s.groups > 1 ? `/${s.groups}` : ""}\u00b7${kernel}`;
  return `${parts} = ${grouped(weights)} weights + ${biases} ${biases === 1 ? "bias" : "biases"} = ${grouped(total)}`;
}

/** @param {Settings} s */
function costFormula(s) {
  const places = (s.transposed ? s.input_size : outputSize(s)) ** s.dims;
  const what = s.transposed ? "input" : "output";
  return `${grouped(numParams(s).weights)} weights \u00b7 ${places} ${what} pixels = ${grouped(multAdds(s))}`;
}

const decimal = (number) => written(Number.isInteger(number) ? number : Number(number.toFixed(3)));

/** @param {Settings} s */
function fieldSentence(s) {
  const { size, jump, start } = receptiveField(s);
  const most = s.transposed && s.stride > 1 ? "at most " : "";
  return `size ${most}${size} px, jump ${decimal(jump)} px, start ${decimal(start)} px`;
}

/** What a person might stumble over. @param {Settings} s @returns {string} */
export function remark(s) {
  const left = unseen(s);
  if (left) return `The last ${left} px of the padded input lie in no window: no output sees them.`;
  if (s.transposed) return ofPatches(s);
  if (s.kernel_size === 1 && s.dilation > 1) return "With kernel_size 1 there is nothing to spread: dilation has no effect.";
  if (s.padding !== "same" && pads(s)[0] > span(s) - 1) {
    return "The outermost windows lie wholly on padding: their outputs are just the bias.";
  }
  return "";
}

/** How evenly the painted patches cover the output. @param {Settings} s */
function ofPatches(s) {
  const counts = Array(s.stride).fill(0);
  for (let weight = 0; weight < s.kernel_size; weight++) counts[(weight * s.dilation) % s.stride] += 1;
  if (counts.includes(0)) return "Some outputs get nothing but the bias: the painted patches leave holes.";
  if (new Set(counts).size === 1) return "";
  return "Some outputs are painted more often than their neighbours (checkerboard): a kernel_size that is a multiple of the stride avoids it.";
}

/** The list of them. */
export class Facts {
  constructor() {
    this.element = el("section", { class: "cx-facts", "aria-label": "Facts" });
  }

  /** @param {Settings} s */
  show(s) {
    const [names, numbers] = sizeFormula(s);
    const rows = [
      ["output_size", "pixels along each axis", names, numbers],
      ["num_params", "numbers that are learned", paramsFormula(s)],
      ["mult_adds", "products of a weight and a pixel, one image", costFormula(s)],
      ["receptive field", "what one output sees, the step to its neighbour, the first centre", fieldSentence(s)],
    ];
    // No <dl>: JupyterLab gives it a look of its own.
    const items = rows.flatMap(([name, meaning, ...lines]) => [
      el("div", { class: "cx-name" }, name, el("span", { class: "cx-meaning" }, ` \u2013 ${meaning}`)),
      el("div", { class: "cx-fact", "data-fact": name }, ...lines.map((line) => el("div", {}, line))),
    ]);
    const note = el("div", { class: "cx-remark" }, remark(s) || "\u2013");
    this.element.replaceChildren(...items, el("div", { class: "cx-name" }, "note"), note);
  }
}
