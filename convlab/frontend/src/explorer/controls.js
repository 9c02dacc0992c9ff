/**
 * A control for each setting. A control asks for a value and shows what the settings then are; whether the value is
 * possible is decided elsewhere.
 * @typedef {import("./geometry.js").Settings} Settings
 */
import { el, uniqueId } from "./dom.js";
import { CHANNELS, drawn, limit, MAX_CHANNELS, problem } from "./limits.js";
import { MEANINGS, UNITS } from "./words.js";

export class Controls {
  /**
   * @param {(name: string, value: number|string|boolean) => void} request
   * @param {(name: string) => void} explain
   */
  constructor(request, explain) {
    Object.assign(this, { request, explain, shown: [] });
    const sizes = ["input_size", "kernel_size", "stride", "dilation"].map((name) => this.slider(name));
    this.element = el(
      "div",
      { class: "cx-controls" },
      this.switches(),
      ...sizes,
      this.padding(),
      ...["in_channels", "out_channels", "groups"].map((name) => this.choice(name, channelOptions(name))),
    );
  }

  /** @param {Settings} s */
  show(s) {
    for (const show of this.shown) show(s);
  }

  /** The row above a control: what it is called, help, and the value. */
  heading(name, id, value = "") {
    const question = el(
      "button",
      { type: "button", class: "cx-help", "aria-label": `What is ${name}?`, title: MEANINGS[name], onclick: () => this.explain(name) },
      "?",
    );
    const label = el(id ? "label" : "span", { for: id, title: MEANINGS[name] }, name);
    return el("div", { class: "cx-heading" }, label, question, value);
  }

  range(name, id) {
    const slider = el("input", { type: "range", id, step: 1, "data-setting": name });
    slider.addEventListener("input", () => this.request(name, Number(slider.value)));
    return slider;
  }

  slider(name) {
    const id = uniqueId(name);
    const slider = this.range(name, id);
    const value = el("span", { class: "cx-value" });
    this.shown.push((s) => {
      scale(slider, s, name);
      slider.value = s[name];
      value.textContent = `${s[name]} ${s[name] === 1 && name === "kernel_size" ? "weight" : UNITS[name]}`;
      slider.setAttribute("aria-valuetext", value.textContent);
    });
    return el("div", { class: "cx-control" }, this.heading(name, id, value), slider);
  }

  padding() {
    const id = uniqueId("padding");
    const slider = this.range("padding", id);
    const value = el("span", { class: "cx-value" });
    const modes = this.radios("padding", "kind of padding", [
      ["number", "number"],
      ["same", "same"],
      ["valid", "valid"],
    ]);
    modes.classList.add("cx-modes");
    this.shown.push((s) => {
      const number = typeof s.padding === "number";
      scale(slider, s, "padding");
      slider.value = number ? s.padding : 0;
      slider.disabled = !number;
      value.textContent = number ? `${s.padding} px` : s.padding;
      mark(modes, number ? "number" : s.padding, (mode) => mode === "number" || !problem(s, "padding", mode));
    });
    return el("div", { class: "cx-control cx-wide" }, this.heading("padding", id, value), el("div", { class: "cx-row" }, slider, modes));
  }

  choice(name, options) {
    const radios = this.radios(name, name, options);
    this.shown.push((s) => {
      mark(radios, String(s[name]), (value) => !CHANNELS.includes(name) || !problem(s, name, Number(value)));
    });
    return el("div", { class: "cx-control" }, this.heading(name), radios);
  }

  /** Real radio buttons that look like one bar; an impossible one can be chosen, and answers with the reason. */
  radios(name, label, options) {
    const group = uniqueId(name);
    const buttons = options.map(([value, text]) => {
      const input = el("input", { type: "radio", name: group, value, "data-setting": name });
      input.addEventListener("change", () => {
        this.request(name, value === "number" || Number.isNaN(Number(value)) ? value : Number(value));
      });
      return el("label", {}, input, el("span", {}, text));
    });
    return el("div", { class: "cx-radios", role: "radiogroup", "aria-label": label }, ...buttons);
  }

  switches() {
    const id = uniqueId("transposed");
    const box = el("input", { type: "checkbox", id, "data-setting": "transposed" });
    box.addEventListener("change", () => this.request("transposed", box.checked));
    const dims = this.radios("dims", "dims", [
      ["1", "1-D"],
      ["2", "2-D"],
    ]);
    this.shown.push((s) => {
      mark(dims, String(s.dims), () => true);
      box.checked = s.transposed;
    });
    const help = this.heading("transposed", id);
    help.prepend(box);
    return el("div", { class: "cx-control cx-switches" }, dims, help);
  }
}

function channelOptions() {
  return Array.from({ length: MAX_CHANNELS }, (_, index) => [String(index + 1), String(index + 1)]);
}

/** The slider's scale is always the same; what is impossible now is pale. */
function scale(slider, s, name) {
  const [least, most] = drawn(s, name);
  const { low, high } = limit(s, name);
  slider.min = least;
  slider.max = most;
  const share = (value) => (value - least) / (most - least);
  slider.style.setProperty("--cx-low", share(Math.min(low, most)));
  slider.style.setProperty("--cx-high", share(Math.max(high, least)));
}

function mark(radios, value, possible) {
  for (const input of radios.querySelectorAll("input")) {
    input.checked = input.value === value;
    input.parentElement.classList.toggle("impossible", !possible(input.value));
  }
}
