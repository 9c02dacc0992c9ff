import { element } from "../chart/element.js";

/**
 * @typedef {{name: string, label: string, tooltip: string, values: any[], value: any, low: string, high: string,
 *   slides: boolean}} Control
 * @typedef {{root: HTMLElement, show: (control: Control) => void}} Row
 */

let made = 0;

/** The controls of one layer. While one is dragged what comes from the kernel moves all but that one. */
export class Controls {
  /** @param {(type: "drag" | "release", name: string, value: any) => void} tell */
  constructor(tell) {
    this.tell = tell;
    this.root = element("div", { class: "convlab-strip-controls" });
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    this.drawn = "";
  }

  /**
   * @param {string} path of the layer
   * @param {Control[]} controls
   */
  show(path, controls) {
    const shape = JSON.stringify([path, controls.map((control) => [control.name, control.slides])]);
    if (shape !== this.drawn) {
      this.drawn = shape;
      this.rows = new Map(controls.map((c) => [c.name, c.slides ? slider(c, this.tell) : list(c, this.tell)]));
      const hint = path ? "Nothing of this layer can be set here." : "Click a layer to set it.";
      const rows = [...this.rows.values()].map((row) => row.root);
      this.root.replaceChildren(...(rows.length ? rows : [element("p", {}, hint)]));
    }
    for (const control of controls) this.rows.get(control.name)?.show(control);
  }
}

/** @param {any} value */
const words = (value) =>
  value === null ? "none" : value === true ? "yes" : value === false ? "no" : String(value);

/**
 * @param {Control} first
 * @param {(type: "drag" | "release", name: string, value: any) => void} tell
 * @returns {Row}
 */
function slider(first, tell) {
  const id = `convlab-strip-${++made}`;
  const input = element("input", { id, type: "range", min: "0", step: "1" });
  const output = element("output", { for: id });
  const why = element("span", { class: "is-why" });
  let control = first;
  let dragged = false;
  const say = () => {
    const at = input.valueAsNumber;
    const value = words(control.values[at]);
    output.textContent = value;
    input.setAttribute("aria-valuetext", value);
    why.textContent = at === 0 ? control.low : at === control.values.length - 1 ? control.high : "";
  };
  input.addEventListener("input", () => {
    dragged = true;
    say();
    tell("drag", control.name, control.values[input.valueAsNumber]);
  });
  input.addEventListener("change", () => {
    dragged = false;
    tell("release", control.name, control.values[input.valueAsNumber]);
  });
  const label = element("label", { for: id, title: first.tooltip }, first.label);
  return {
    root: element("div", { class: "is-control" }, label, input, output, why),
    show(next) {
      if (dragged) return;
      control = next;
      input.max = String(Math.max(0, next.values.length - 1));
      input.value = String(Math.max(0, next.values.indexOf(next.value)));
      input.disabled = next.values.length < 2;
      input.title = [next.tooltip, next.low, next.high].filter(Boolean).join(" ");
      say();
    },
  };
}

/**
 * @param {Control} first
 * @param {(type: "drag" | "release", name: string, value: any) => void} tell
 * @returns {Row}
 */
function list(first, tell) {
  const id = `convlab-strip-${++made}`;
  const select = element("select", { id });
  const why = element("span", { class: "is-why" });
  let control = first;
  select.addEventListener("change", () => tell("release", control.name, control.values[select.selectedIndex]));
  const label = element("label", { for: id, title: first.tooltip }, first.label);
  return {
    root: element("div", { class: "is-control" }, label, select, why),
    show(next) {
      control = next;
      select.replaceChildren(...next.values.map((value) => element("option", {}, words(value))));
      select.selectedIndex = next.values.indexOf(next.value);
      select.disabled = next.values.length < 2;
      select.title = next.tooltip;
      why.textContent = next.values.length < 2 ? next.high || next.low : "";
    },
  };
}
