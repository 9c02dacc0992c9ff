import { element } from "../chart/element.js";

/**
 * @typedef {{path: string, name: string, tooltip: string, values: any[], value: any, low: string, high: string,
 *   slides: boolean}} Control
 * @typedef {(type: "drag" | "release", control: Control, value: any) => void} Tell
 * @typedef {{root: HTMLElement, slides: boolean, show: (control: Control) => void}} Row
 */

let made = 0;

/** The controls of one layer. While one is dragged what comes from the kernel moves all but that one. */
export class Controls {
  /** @param {Tell} tell */
  constructor(tell) {
    this.tell = tell;
    this.root = element("div", { class: "convlab-strip-controls" });
    /** @type {Row[]} */
    this.rows = [];
    this.drawn = "";
  }

  /**
   * @param {string} selected path of the layer that is selected; its controls may be on their way
   * @param {Control[]} controls
   */
  show(selected, controls) {
    const settings = JSON.stringify(controls.length ? controls.map((control) => [control.path, control.name]) : selected);
    if (settings !== this.drawn) {
      this.drawn = settings;
      this.rows = controls.map((control) => this.#row(control));
      const hint = selected ? "Nothing of this layer can be set here." : "Click a layer to set it.";
      const rows = this.rows.map((row) => row.root);
      this.root.replaceChildren(...(rows.length ? rows : [element("p", {}, hint)]));
    }
    controls.forEach((control, i) => {
      // Only this row: a hand may be on another one, or the keyboard.
      if (this.rows[i].slides !== control.slides) {
        const row = this.#row(control);
        this.rows[i].root.replaceWith(row.root);
        this.rows[i] = row;
      }
      this.rows[i].show(control);
    });
    this.root.inert = controls.length > 0 && controls[0].path !== selected;
  }

  /** @param {Control} control */
  #row(control) {
    return control.slides ? slider(control, this.tell) : list(control, this.tell);
  }
}

/** @param {any} value */
const words = (value) =>
  value === null ? "none" : value === true ? "yes" : value === false ? "no" : String(value);

/**
 * @param {Control} first
 * @param {Tell} tell
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
    tell("drag", control, control.values[input.valueAsNumber]);
  });
  input.addEventListener("change", () => {
    dragged = false;
    tell("release", control, control.values[input.valueAsNumber]);
  });
  const label = element("label", { for: id, title: first.tooltip }, first.name);
  return {
    slides: true,
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
 * @param {Tell} tell
 * @returns {Row}
 */
function list(first, tell) {
  const id = `convlab-strip-${++made}`;
  const select = element("select", { id });
  const why = element("span", { class: "is-why" });
  let control = first;
  select.addEventListener("change", () => tell("release", control, control.values[select.selectedIndex]));
  const label = element("label", { for: id, title: first.tooltip }, first.name);
  return {
    slides: false,
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
