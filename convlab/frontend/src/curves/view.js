import uPlot from "uplot";
import { element } from "../chart/element.js";
import { formatLoss, formatRate, formatTick } from "../chart/format.js";
import { logTicks, lossRange } from "../chart/ranges.js";
import { onThemeChange } from "../chart/theme.js";
import { keepKeys } from "../shared/keys.js";
import { Hand } from "./hand.js";
import { nearest } from "./nearest.js";
import { readTheme } from "./theme.js";

const TRAITS = ["x_label", "y_label", "x_log", "y_log", "height", "drawable", "hint"];

/** @typedef {import("./message.js").Line} Line */

/** One view: a plot by uPlot, its legend with the values at the cursor, and the marks' words above it. */
export class View {
  /**
   * @param {any} model anywidget's
   * @param {HTMLElement} el
   * @param {{lines: Line[], marks: {x: number, text: string}[]}} shown
   */
  constructor(model, el, shown) {
    this.model = model;
    this.shown = shown;
    /** @type {number | null} */
    this.cursor = null;
    this.request = 0;
    /** @type {uPlot | null} */
    this.plot = null;
    this.marks = element("div", { class: "convlab-curves-marks", "aria-hidden": "true" });
    this.area = element("div", { class: "convlab-curves-area", tabindex: "0", role: "img" });
    this.legend = element("div", { class: "convlab-curves-legend" });
    this.hint = element("div", { class: "convlab-curves-hint" });
    this.root = element("div", { class: "convlab convlab-curves" }, this.marks, this.area, this.legend, this.hint);
    el.append(this.root);
    const redraw = () => this.schedule();
    const size = new ResizeObserver(redraw);
    size.observe(this.area);
    for (const name of TRAITS) model.on(`change:${name}`, redraw);
    this.area.addEventListener("keydown", (event) => this.#onKey(event));
    this.area.addEventListener("click", () => this.#pick());
    this.hand = new Hand(this.area, {
      active: () => model.get("drawable"),
      plot: () => this.plot,
      draw: redraw,
      done: (trace) => model.send({ type: "drawn", xs: trace.map((p) => p[0]), ys: trace.map((p) => p[1]) }),
    });
    this.undo = [
      keepKeys(this.root),
      // Between two themes a page has the style of neither for a moment, and another width.
      onThemeChange(() => [0, 300, 1500].forEach((wait) => setTimeout(redraw, wait))),
      () => size.disconnect(),
      () => TRAITS.forEach((name) => model.off(`change:${name}`, redraw)),
    ];
    this.schedule();
  }

  destroy() {
    cancelAnimationFrame(this.request);
    for (const undo of this.undo) undo();
    this.plot?.destroy();
    this.root.remove();
  }

  /** Draws in the next frame, however often it is asked. */
  schedule() {
    this.request ||= requestAnimationFrame(() => {
      this.request = 0;
      this.#draw();
    });
  }

  #draw() {
    const width = this.area.clientWidth;
    if (!width) return;
    this.hint.textContent = this.model.get("hint");
    this.hint.hidden = !this.model.get("hint");
    this.area.style.height = `${this.model.get("height")}px`;
    this.area.classList.toggle("is-drawable", this.model.get("drawable"));
    const theme = readTheme(this.root);
    this.plot?.destroy();
    // A few hundred points, a few times a second at most: made anew each time there is no state to go stale.
    this.plot = new uPlot(this.#options(width, theme), this.#data(), this.area);
    this.#showValues();
    this.area.setAttribute("aria-label", this.#words());
  }

  /** @returns {uPlot.AlignedData} */
  #data() {
    const [xLog, yLog] = [this.model.get("x_log"), this.model.get("y_log")];
    const fit = (/** @type {number[]} */ x, /** @type {(number | null)[]} */ y) => {
      const keep = x.map((value) => Number.isFinite(value) && (!xLog || value > 0));
      return /** @type {uPlot.AlignedData} */ ([
        x.filter((_, i) => keep[i]),
        y.filter((_, i) => keep[i]).map((v) => (v === null || (yLog && v <= 0) ? null : v)),
      ]);
    };
    const tables = this.shown.lines.flatMap((line) => [
      ...(line.band ? [fit(line.x, line.high), fit(line.x, line.low)] : []),
      fit(line.x, line.y),
    ]);
    const trace = this.hand.trace;
    if (trace.length) tables.push([trace.map((p) => p[0]), trace.map((p) => p[1])]);
    return tables.length ? uPlot.join(tables) : [[]];
  }

  /**
   * @param {number} width
   * @param {import("./theme.js").Theme} theme
   * @returns {uPlot.Options}
   */
  #options(width, theme) {
    const [xLog, yLog] = [this.model.get("x_log"), this.model.get("y_log")];
    const em = theme.fontSize;
    const series = [{}];
    const bands = [];
    for (const line of this.shown.lines) {
      const stroke = line.style === "faint" ? theme.ghost : theme.palette[line.colour % theme.palette.length];
      if (line.band) {
        bands.push({ series: [series.length, series.length + 1], fill: `${stroke}33` });
        series.push({ width: 0, points: { show: false } }, { width: 0, points: { show: false } });
      }
      series.push(look(line, stroke));
    }
    if (this.hand.trace.length) series.push({ stroke: theme.text, width: 2, auto: false, points: { show: false } });
    const axis = {
      stroke: theme.text,
      font: theme.font,
      labelFont: theme.font,
      grid: { stroke: theme.grid, width: 1 },
      ticks: { stroke: theme.grid, width: 1, size: 4 },
      gap: 3,
      labelGap: 0,
    };
    const ticks = (/** @type {boolean} */ log) =>
      {
      if (!log) return {};
      const filter = (/** @type {uPlot} */ _, /** @type {number[]} */ at) => logTicks(at);
      return { filter, grid: { ...axis.grid, filter } };
    };
    const tick = (
      /** @type {uPlot} */ _,
      /** @type {(number | null)[]} */ at,
      /** @type {number} */ __,
      /** @type {number} */ ___,
      /** @type {number} */ increment,
    ) => at.map((value) => (value === null ? "" : formatTick(value, increment)));
    const range = (/** @type {uPlot} */ _, /** @type {number} */ low, /** @type {number} */ high) =>
      yLog ? uPlot.rangeLog(low ?? 0.1, high ?? 1, 10, false) : linearRange(low, high);
    return /** @type {any} */ ({
      width,
      height: this.model.get("height"),
      padding: [em * 0.6, em * 1.5, 0, 0],
      legend: { show: false },
      scales: { x: { time: false, distr: xLog ? 3 : 1 }, y: { distr: yLog ? 3 : 1, range } },
      axes: [
        { ...axis, ...ticks(xLog), values: tick, size: em * 1.8, label: this.model.get("x_label"), labelSize: em * 1.5 },
        { ...axis, ...ticks(yLog), values: tick, size: em * 4, label: this.model.get("y_label"), labelSize: em * 1.5 },
      ],
      series,
      bands,
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      hooks: {
        setCursor: [(/** @type {any} */ u) => this.#onCursor(u)],
        draw: [
          (/** @type {uPlot} */ u) => {
            drawMarks(u, this.shown.marks, theme);
            this.#showMarks(u);
          },
        ],
      },
    });
  }

  /** @param {uPlot} u */
  #showMarks(u) {
    const left = u.bbox.left / devicePixelRatio;
    const end = left + u.bbox.width / devicePixelRatio;
    const inside = this.shown.marks
      .map((mark) => ({ ...mark, at: left + u.valToPos(mark.x, "x") }))
      .filter((mark) => mark.at >= left - 1 && mark.at <= end + 1)
      .sort((a, b) => a.at - b.at);
    this.marks.replaceChildren(...inside.map((mark) => element("span", { title: mark.text }, mark.text)));
    // Words that would lie upon each other are moved apart, those at the end back into the plot.
    let free = 0;
    const words = /** @type {HTMLElement[]} */ ([...this.marks.children]);
    words.forEach((word, i) => {
      const wide = word.offsetWidth;
      const x = Math.max(free, Math.min(inside[i].at - wide / 2, this.root.clientWidth - wide));
      word.style.left = `${x}px`;
      free = x + wide + 6;
    });
  }

  #showValues() {
    const x = this.cursor;
    const log = this.model.get("x_log");
    const entries = this.shown.lines.map((line) => {
      const i = x === null ? -1 : nearest(line.x, x, log);
      const value = i < 0 || line.y[i] === null ? "" : formatLoss(/** @type {number} */ (line.y[i]));
      const sign = element("i", { class: `is-${line.style} is-colour-${line.colour % 5}` });
      return element("span", {}, sign, line.name, element("b", {}, value));
    });
    const at = element("span", {}, this.model.get("x_label"), element("b", {}, x === null ? "" : formatRate(x)));
    this.legend.replaceChildren(at, ...entries);
  }

  /** @param {any} u */
  #onCursor(u) {
    const first = this.shown.lines[0];
    const inside = u.cursor.left >= 0 && first?.x.length;
    const x = inside ? u.posToVal(u.cursor.left, "x") : null;
    this.cursor = x === null ? null : first.x[nearest(first.x, x, this.model.get("x_log"))];
    this.#showValues();
  }

  #pick() {
    const first = this.shown.lines[0];
    if (this.cursor === null || !first || this.model.get("drawable")) return;
    const y = first.y[nearest(first.x, this.cursor, this.model.get("x_log"))];
    if (y !== null) this.model.send({ type: "pick", x: this.cursor, y });
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const first = this.shown.lines[0];
    const u = this.plot;
    if (!first?.x.length || !u || event.target !== this.area) return;
    const last = first.x.length - 1;
    const from = this.cursor ?? this.shown.marks.at(-1)?.x ?? first.x[0];
    const now = nearest(first.x, from, this.model.get("x_log"));
    const stride = event.shiftKey ? 10 : 1;
    /** @type {Record<string, number>} */
    const moves = { ArrowLeft: now - stride, ArrowRight: now + stride, Home: 0, End: last };
    if (event.key === "Enter") {
      this.#pick();
    } else if (event.key in moves) {
      const i = Math.min(last, Math.max(0, moves[event.key]));
      u.setCursor({ left: u.valToPos(first.x[i], "x"), top: 10 });
      this.legend.setAttribute("aria-live", "polite");
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #words() {
    const names = this.shown.lines.map((line) => line.name).join(", ") || "nothing yet";
    const marks = this.shown.marks.map((mark) => `${mark.text} at ${formatRate(mark.x)}`).join(", ");
    const axes = `${this.model.get("y_label")} against ${this.model.get("x_label")}`;
    return `${axes}: ${names}.${marks ? ` Marked: ${marks}.` : ""} Arrow keys read the values. ${this.model.get("hint")}`;
  }
}

/**
 * From zero for what is always the same: a constant is no curve to look into.
 * @param {number | null} low
 * @param {number | null} high
 * @returns {[number, number]}
 */
function linearRange(low, high) {
  return low !== null && low === high && low > 0 ? [0, 1.2 * low] : lossRange(low, high);
}

/**
 * @param {Line} line
 * @param {string} stroke
 */
function look(line, stroke) {
  const points = line.style === "points";
  return {
    stroke,
    width: points ? 0 : line.style === "faint" ? 1 : 2,
    dash: line.style === "dash" ? [6, 4] : [],
    spanGaps: false,
    points: points ? { show: true, size: 7, stroke, fill: stroke } : { show: line.x.length === 1 },
  };
}

/**
 * @param {uPlot} u
 * @param {{x: number}[]} marks
 * @param {import("./theme.js").Theme} theme
 */
function drawMarks(u, marks, theme) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.strokeStyle = theme.orange;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.lineWidth = devicePixelRatio;
  for (const { x } of marks) {
    const at = u.valToPos(x, "x", true);
    if (!(at >= bbox.left && at <= bbox.left + bbox.width)) continue;
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}
