/**
 * Input, kernel and output side by side, and what lights up in them.
 * @typedef {import("./geometry.js").Settings} Settings
 * @typedef {import("./numbers.js").Index} Index
 * @typedef {{kind: "input"|"weight"|"output", at: Index}} Focus what a person points at
 * @typedef {{into: number, out: number}} Channels the channels on show
 */
import { el, svg, written } from "./dom.js";
import { outputSize, pads, span, tapsOfInput, tapsOfOutput, tapsOfWeight } from "./geometry.js";
import { CELL, Grid } from "./grid.js";
import { biasValue, channelsSeen, inputValue, outputValue, product, weightValue } from "./numbers.js";

const TAPS = { input: tapsOfInput, weight: tapsOfWeight, output: tapsOfOutput };
/** Up to so many cells along an axis there is room for small text in a corner. */
const ROOMY = { 1: 28, 2: 14 };

/** Paths along the axes: one tap an axis. @param {Settings} s @param {Focus} focus */
export function tapsOf(s, focus) {
  return product(focus.at.map((place) => TAPS[focus.kind](s, place))).map((taps) => ({
    input: taps.map((tap) => tap.input),
    weight: taps.map((tap) => tap.weight),
    output: taps.map((tap) => tap.output),
  }));
}

const signed = (value) => (value < 0 ? written(value) : `+${value}`);
export const inside = (at, size) => at.every((place) => place >= 0 && place < size);

export class Picture {
  /**
   * @param {Object} events
   * @param {(focus: ?Focus) => void} events.point a cell is pointed at, or none
   * @param {(position: Index) => void} events.move the kernel is dragged to a position
   */
  constructor({ point, move }) {
    this.events = { point, move };
    this.element = el("div", { class: "cx-picture" });
    /** @type {Record<string, Grid>} */
    this.grids = {};
  }

  /** Draw all cells anew. @param {Settings} s @param {Channels} channels */
  draw(s, channels) {
    Object.assign(this, { s, channels, grids: {}, links: null });
    const [before, after] = pads(s);
    const output = outputSize(s);
    const seen = channelsSeen(s, channels.out).includes(channels.into);
    const rim = (size) => (at) => (inside(at, size) ? "" : s.transposed ? "cropped" : "padding");
    const ends = (size, padded) => (padded ? { from: -before, to: size + after } : { from: 0, to: size });
    this.parts = {
      input: {
        ...ends(s.input_size, !s.transposed),
        value: (at) => inputValue(s, channels.into, at),
        kind: (at) => `${rim(s.input_size)(at)}${seen ? "" : " apart"}`,
      },
      weight: {
        ...ends(s.kernel_size, false),
        value: (at) => (seen ? weightValue(channels.out, channels.into, at) : "\u00b7"),
        kind: () => (seen ? "" : "apart"),
      },
      output: {
        ...ends(output, s.transposed),
        value: (at) => (inside(at, output) ? outputValue(s, channels.out, at) : ""),
        kind: rim(output),
      },
    };
    this.roomy = Object.values(this.parts).every(({ from, to }) => to - from <= ROOMY[s.dims]);
    this.element.className = `cx-picture ${s.dims === 1 ? "line" : "plane"}`;
    this.element.replaceChildren(...(s.dims === 1 ? this.line() : this.plane()));
  }

  /** Two dimensions: a figure each. */
  plane() {
    return ["input", "weight", "output"].map((name) => {
      const part = this.parts[name];
      const count = part.to - part.from;
      // A small grid does not fill its square: cells of a giant's size would tell nothing more.
      const side = Math.max(count, name === "weight" ? 3 : 6) * CELL;
      const free = (side - count * CELL) / 2;
      const grid = new Grid({ ...part, dims: 2, corner: [free, free] });
      const picture = this.canvas([name, grid], `0 0 ${side} ${side}`);
      return el("figure", { class: `cx-figure ${name}` }, el("figcaption", {}, this.caption(name)), picture);
    });
  }

  /** One dimension: three rows under each other, the kernel beside the pixels that it meets. */
  line() {
    const { s, parts } = this;
    const count = (name) => parts[name].to - parts[name].from;
    const wide = Math.max(count("input"), count("output"), 12);
    const rows = s.transposed ? { input: 0.5, weight: 2.6, output: 3.7 } : { weight: 0.5, input: 1.6, output: 3.7 };
    this.links = svg("g", { class: "cx-links" });
    const grids = Object.entries(rows).map(([name, row]) => {
      const corner = [((wide - count(name)) / 2) * CELL, row * CELL];
      return [name, new Grid({ ...parts[name], dims: 1, corner })];
    });
    const box = `0 0 ${wide * CELL} ${5.2 * CELL}`;
    const canvas = this.canvas(grids.flat(), box);
    canvas.prepend(this.links);
    const captions = Object.keys(rows).map((name) => el("span", {}, this.caption(name)));
    return [el("figure", { class: "cx-figure" }, el("figcaption", {}, ...captions), canvas)];
  }

  canvas(named, box) {
    const canvas = svg("svg", { viewBox: box, class: "cx-canvas", "aria-hidden": "true" });
    for (let index = 0; index < named.length; index += 2) {
      this.grids[named[index]] = named[index + 1];
      canvas.append(named[index + 1].element);
    }
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) this.drag(this.under(canvas, event));
      else this.events.point(this.pointed(event));
    });
    canvas.addEventListener("pointerleave", () => this.events.point(null));
    canvas.addEventListener("pointerdown", (event) => {
      const focus = this.under(canvas, event);
      if (!focus) return;
      canvas.setPointerCapture(event.pointerId);
      this.drag(focus);
    });
    return canvas;
  }

  /** The cell that the pointer is on. @returns {?Focus} */
  pointed(event) {
    const cell = event.target.closest("[data-at]");
    const named = Object.entries(this.grids).find(([, grid]) => grid.element.contains(cell));
    if (!cell || !named) return null;
    const at = cell.dataset.at.split(",").map(Number);
    // A cropped place is no output, and padding no pixel of the input.
    const size = { input: this.s.input_size, output: outputSize(this.s) }[named[0]];
    return size === undefined || inside(at, size) ? { kind: named[0], at } : null;
  }

  /** The place of input or output below the pointer, padding and cropped places included. @returns {?Focus} */
  under(canvas, event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(canvas.getScreenCTM().inverse());
    for (const kind of ["input", "output"]) {
      const at = canvas.contains(this.grids[kind].element) ? this.grids[kind].at(x, y) : null;
      if (at) return { kind, at };
    }
    return null;
  }

  /** The kernel's middle follows the pointer over the cells that it covers, its position over the others. */
  drag(focus) {
    if (!focus) return;
    this.events.point(null);
    const { s } = this;
    const anchor = s.transposed ? "input" : "output";
    const steps = s.transposed ? s.input_size : outputSize(s);
    if (focus.kind === anchor) {
      if (inside(focus.at, steps)) this.events.move(focus.at);
      return;
    }
    const shift = pads(s)[0] - (span(s) - 1) / 2;
    const nearest = (place) => Math.min(Math.max(Math.round((place + shift) / s.stride), 0), steps - 1);
    this.events.move(focus.at.map(nearest));
  }

  caption(name) {
    const { s, channels } = this;
    const by = (size) => (s.dims === 2 ? `${size} \u00d7 ${size}` : `${size}`);
    const [before, after] = pads(s);
    const rim = before === after ? `${before}` : `${before} + ${after}`;
    if (name === "weight") return `kernel ${by(s.kernel_size)} weights`;
    if (name === "input") {
      const padding = s.transposed || !(before || after) ? "" : `, padding ${rim}`;
      return `input ${by(s.input_size)} px${padding}`;
    }
    const cropped = s.transposed && before ? `, ${rim} cropped` : "";
    return `output ${by(outputSize(s))} px${cropped}, bias ${written(biasValue(channels.out))}`;
  }

  /**
   * Light up whatever belongs to `focus`.
   * @param {Focus} focus
   * @param {boolean} resting whether it is the kernel's own place, not a cell that is pointed at
   */
  light(focus, resting) {
    const { s, channels, grids } = this;
    for (const grid of Object.values(grids)) grid.clear();
    const taps = tapsOf(s, focus);
    const note = (text) => (this.roomy ? text : "");
    const seen = channelsSeen(s, channels.out).includes(channels.into);
    if (this.links) this.place(focus, taps);
    if (!seen) {
      grids[focus.kind].mark(focus.at, "focus");
      return;
    }
    const weight = (tap) => weightValue(channels.out, channels.into, tap.weight);
    const factor = (tap) => `\u00d7${written(weight(tap))}`;
    const pixel = (tap) => inputValue(s, channels.into, tap.input);
    // What one pixel paints is a number of its own; what an output reads is the pixel, with a factor beside it.
    const paint = (tap) => (s.transposed ? signed(pixel(tap) * weight(tap)) : factor(tap));
    for (const tap of taps) {
      if (focus.kind !== "input") grids.input.mark(tap.input, "window", focus.kind === "output" ? note(factor(tap)) : "");
      if (focus.kind !== "output") grids.output.mark(tap.output, "lit", focus.kind === "input" ? note(paint(tap)) : "");
      if (focus.kind !== "weight") grids.weight.mark(tap.weight, "window");
    }
    grids[focus.kind].mark(focus.at, resting ? "focus" : "focus pointed");
  }

  /** One dimension: the kernel's cells stand where they meet the pixels, and lines show what goes where. */
  place(focus, taps) {
    const { grids, links } = this;
    links.replaceChildren();
    // The kernel stands between an input pixel and what it paints.
    const beside = this.s.transposed && focus.kind === "input";
    this.moveKernel(focus);
    for (const tap of taps) {
      const from = grids.input.cells.has(tap.input.join(",")) && grids.input.middle(tap.input);
      const to = grids.output.cells.has(tap.output.join(",")) && grids.output.middle(tap.output);
      if (!from || !to) continue;
      const [top, bottom] = [from[1] + CELL / 2, beside ? grids.weight.corner[1] : to[1] - CELL / 2];
      links.append(svg("line", { x1: from[0], y1: top, x2: to[0], y2: bottom }));
    }
  }

  /** Stand the kernel's cells beside the pixels of the window that `focus` belongs to. */
  moveKernel(focus) {
    const { s, grids } = this;
    const anchor = s.transposed ? "input" : "output";
    if (focus.kind !== anchor) return;
    const beside = s.transposed ? grids.output : grids.input;
    for (const tap of tapsOf(s, focus)) {
      const cell = grids.weight.cells.get(tap.weight.join(","));
      const x = beside.middle(s.transposed ? tap.output : tap.input)[0] - grids.weight.corner[0] - CELL / 2;
      cell.group.setAttribute("transform", `translate(${x} 0)`);
    }
  }
}
