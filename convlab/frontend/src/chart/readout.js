import { element } from "./element.js";
import { formatStep } from "./format.js";
import { SERIES } from "./series.js";

const NOTHING = "–";
const SVG = "http://www.w3.org/2000/svg";

/**
 * The legend, which also reads out the values at a step. Its entries are always the same, so that its height
 * depends on the width alone.
 */
export class Readout {
  constructor() {
    this.root = element("div", { class: "convlab-chart-readout", role: "group", "aria-label": "Values" });
    /** @type {Record<string, HTMLElement>} */
    this.values = {};
    this.step = this.#entry("step");
    const read = element("div", {}, this.step.entry);
    const drawn = element("div");
    for (const name of ["epoch", "lr", "train_loss", "valid_loss", "train_accuracy", "valid_accuracy"]) {
      const { label, plot, colour, dash } = SERIES[name];
      const sign = colour && plot !== "lr" ? swatch(colour, dash) : null;
      const { entry, value } = this.#entry(label, sign);
      (sign ? drawn : read).append(entry);
      this.values[name] = value;
    }
    this.root.append(read, drawn);
  }

  /**
   * @param {import("./store.js").Store} store
   * @param {number | null} step null: nothing has run yet
   */
  show(store, step) {
    this.step.value.textContent = step === null ? NOTHING : formatStep(step);
    for (const [name, value] of Object.entries(this.values)) {
      const number = step === null ? null : store.valueAt(name, step);
      value.textContent = number === null ? NOTHING : SERIES[name].format(number);
    }
  }

  /**
   * @param {string} label
   * @param {Element | null} sign
   */
  #entry(label, sign = null) {
    const value = element("span", { class: "is-value" }, NOTHING);
    const name = element("span", { class: "is-label" }, ...(sign ? [sign] : []), label);
    return { entry: element("div", {}, name, value), value };
  }
}

/**
 * A short piece of the line as it is drawn.
 * @param {string} colour
 * @param {number[]} dash
 */
function swatch(colour, dash) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `is-${colour}`);
  svg.setAttribute("viewBox", "0 0 24 10");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", "M0 5H24");
  line.setAttribute("stroke-dasharray", dash.join(" "));
  svg.append(line);
  if (dash.length) {
    const marker = document.createElementNS(SVG, "circle");
    for (const [name, value] of Object.entries({ cx: "12", cy: "5", r: "3" })) marker.setAttribute(name, value);
    svg.append(marker);
  }
  return svg;
}
