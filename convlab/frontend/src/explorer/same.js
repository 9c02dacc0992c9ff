/**
 * Where Keras' padding="same" puts its zeros, beside where torch puts them now.
 * @typedef {import("./geometry.js").Settings} Settings
 */
import { el, svg } from "./dom.js";
import { kerasSame, outputSize, pads, span } from "./geometry.js";
import { CELL } from "./grid.js";

const times = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

/** The difference in one or two sentences. @param {Settings} s */
export function sameSentence(s) {
  const [before, after] = pads(s);
  const keras = kerasSame(s);
  const output = outputSize(s);
  if (keras.before === before && keras.output === output) {
    return 'Both start at the same pixel and give the same size: here the numbers are the same as with Keras\u2019 padding="same".';
  }
  const shift = before - keras.before;
  const way = shift > 0 ? "further right and down" : "further left and up";
  const line = shift > 0 ? "further right" : "further left";
  const moved = `every window of Keras sits ${Math.abs(shift)} px ${s.dims === 2 ? way : line}`;
  if (keras.output === output) return `Same size, other numbers: ${moved}.`;
  const sizes = `Keras gives ${keras.output} px, torch ${output} px`;
  return shift ? `${sizes}, and ${moved}.` : `${sizes}; both start at the same pixel.`;
}

export class Same {
  constructor() {
    this.body = el("div", { class: "cx-same-body" });
    this.element = el(
      "section",
      { class: "cx-same", "aria-label": "padding in torch and in Keras" },
      el("h4", {}, "\u201cSame\u201d is not the same everywhere"),
      this.body,
    );
  }

  /** @param {Settings} s */
  show(s) {
    if (s.transposed) {
      this.body.replaceChildren(el("p", {}, "A transposed convolution crops its output instead of padding its input: there is nothing to compare."));
      return;
    }
    const [before, after] = pads(s);
    const keras = kerasSame(s);
    const padding = typeof s.padding === "string" ? `"${s.padding}"` : s.padding;
    const rim = { from: -Math.max(before, keras.before), to: s.input_size + Math.max(after, keras.after) };
    this.body.replaceChildren(
      row(s, `torch padding=${padding}`, { before, after, output: outputSize(s) }, rim),
      row(s, 'Keras padding="same"', keras, rim),
      el("p", { class: "cx-same-sentence" }, sameSentence(s)),
    );
  }
}

/** One axis: its pixels, the zeros around it, the first window and where each of them starts. */
function row(s, name, { before, after, output }, { from, to }) {
  const strip = svg("svg", { class: "cx-strip", viewBox: `0 0 ${(to - from) * CELL} ${CELL * 1.5}`, preserveAspectRatio: "xMinYMid", "aria-hidden": "true" });
  const x = (place) => (place - from) * CELL;
  for (let place = -before; place < s.input_size + after; place++) {
    const padded = place < 0 || place >= s.input_size;
    const cell = svg("g", { class: `cx-cell ${padded ? "padding" : ""}`, transform: `translate(${x(place)} 0)` });
    cell.append(svg("rect", { x: 1.5, y: 1.5, width: CELL - 3, height: CELL - 3, rx: 3 }));
    cell.append(svg("text", { x: CELL / 2, y: CELL / 2, class: "cx-number" }, padded ? "0" : String(place)));
    strip.append(cell);
  }
  strip.append(svg("rect", { class: "cx-first", x: x(-before) + 2, y: 2, width: span(s) * CELL - 4, height: CELL - 4, rx: 4 }));
  for (let index = 0; index < output; index++) {
    const start = x(index * s.stride - before);
    strip.append(svg("path", { class: "cx-start", d: `M ${start + 4} ${CELL * 1.4} l 12 0 l -6 -12 z` }));
  }
  const words = `${before} before, ${after} after \u2192 ${times(output, "output")}`;
  return el("div", { class: "cx-same-row" }, el("span", {}, el("code", {}, name), el("span", {}, words)), strip);
}
