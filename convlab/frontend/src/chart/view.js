import { keepKeys } from "../shared/keys.js";
import { describe } from "./describe.js";
import { element } from "./element.js";
import { formatTick } from "./format.js";
import { makeGhostNames } from "./ghosts.js";
import { linesOf } from "./lines.js";
import { MarkStrip, drawMarkLines } from "./marks.js";
import { makePlot } from "./plot.js";
import { accuracyRange, logLossRange, lossRange } from "./ranges.js";
import { Readout } from "./readout.js";
import { onThemeChange, readTheme } from "./theme.js";
import { makeToolbar } from "./toolbar.js";

const EMPTY = "Press Run: the loss appears here";
/** Fewest steps that the axis spans, so that the first few do not rush about. */
const SHORTEST = 20;

let made = 0;

/** One view of a chart: toolbar, marks, the plots of loss and accuracy, readout. */
export class View {
  /**
   * @param {any} model anywidget's
   * @param {HTMLElement} el
   * @param {import("./store.js").Store} store
   */
  constructor(model, el, store) {
    this.model = model;
    this.store = store;
    this.syncKey = `convlab-chart-${++made}`;
    /** @type {[number, number] | null} */
    this.zoom = null;
    /** @type {number | null} */
    this.cursor = null;
    /** @type {number | null} */
    this.highlighted = null;
    this.frameRequest = 0;
    /** @type {Partial<Record<"loss" | "accuracy" | "lr", import("./plot.js").Plot>>} */
    this.plots = {};

    this.toolbar = makeToolbar({
      get: (name) => model.get(name),
      set: (name, value) => this.#set(name, value),
      resetZoom: () => this.#zoomTo(null),
    });
    this.strip = new MarkStrip();
    this.readout = new Readout();
    this.ghostNames = makeGhostNames((index) => {
      this.highlighted = index;
      this.schedule();
    });
    this.empty = element("p", { class: "convlab-chart-empty" }, EMPTY);
    this.area = element("div", { class: "convlab-chart-area", tabindex: "0", role: "img" });
    this.area.append(this.ghostNames.root, this.empty);
    this.root = element(
      "div",
      { class: "convlab convlab-chart", role: "group", "aria-label": "Training curves" },
      this.toolbar.root,
      this.strip.root,
      this.area,
      this.readout.root,
    );
    el.append(this.root);
    this.undo = this.#listen();
    this.schedule();
  }

  destroy() {
    cancelAnimationFrame(this.frameRequest);
    for (const undo of this.undo) undo();
    this.#dropPlots();
    this.root.remove();
  }

  /** Draws in the next frame, however often it is asked. */
  schedule() {
    if (!this.frameRequest) {
      this.frameRequest = requestAnimationFrame(() => {
        this.frameRequest = 0;
        this.#draw();
      });
    }
  }

  /** @returns {(() => void)[]} */
  #listen() {
    const schedule = () => this.schedule();
    const rebuild = () => {
      this.#dropPlots();
      this.schedule();
    };
    const size = new ResizeObserver(schedule);
    size.observe(this.root);
    this.store.listeners.add(schedule);
    this.model.on("change:smoothing change:marks change:title", schedule);
    this.model.on("change:log_scale change:shows_lr", rebuild);
    this.area.addEventListener("keydown", (event) => this.#onKey(event));
    // Read aloud while it is moved by key, silent while it runs.
    this.area.addEventListener("blur", () => this.readout.root.removeAttribute("aria-live"));
    return [
      keepKeys(this.root),
      onThemeChange(rebuild),
      () => size.disconnect(),
      () => this.store.listeners.delete(schedule),
      () => this.model.off("change:smoothing change:marks change:title", schedule),
      () => this.model.off("change:log_scale change:shows_lr", rebuild),
    ];
  }

  /**
   * @param {string} name
   * @param {unknown} value
   */
  #set(name, value) {
    this.model.set(name, value);
    // Without a kernel the view still obeys; there is only nobody to tell.
    try {
      this.model.save_changes();
    } catch (error) {
      console.warn("convlab: the kernel was not told of", name, error);
    }
  }

  #dropPlots() {
    for (const plot of Object.values(this.plots)) plot.destroy();
    this.plots = {};
  }

  #draw() {
    const width = this.area.clientWidth;
    if (!width) return;
    if (!this.plots.loss) this.plots = this.#makePlots(width);
    for (const plot of Object.values(this.plots)) {
      if (plot.uplot && plot.uplot.width !== width) plot.resize(width);
    }
    const look = { smoothing: this.model.get("smoothing"), highlighted: this.highlighted };
    this.plots.loss?.draw(linesOf(this.store, "loss", { ...look, positive: this.model.get("log_scale") }));
    this.plots.accuracy?.draw(linesOf(this.store, "accuracy", { ...look, positive: false }));
    this.plots.lr?.draw(linesOf(this.store, "lr", { ...look, positive: false }));
    this.ghostNames.show(this.store.ghosts, this.model.get("title"));
    this.toolbar.show(this.zoom !== null);
    this.empty.hidden = this.store.lastStep !== null || this.store.ghosts.length > 0;
    this.#showValues();
    const hint = this.store.lastStep === null ? EMPTY : "Arrow keys read the values";
    this.area.setAttribute("aria-label", `${describe(this.store)} ${hint}.`);
  }

  /** @param {number} width */
  #makePlots(width) {
    const showsLr = this.model.get("shows_lr");
    const theme = readTheme(this.root);
    const log = this.model.get("log_scale");
    const frame = {
      theme,
      width,
      syncKey: this.syncKey,
      domain: () => this.#domain(),
      onZoom: (/** @type {[number, number] | null} */ range) => this.#zoomTo(range),
      onCursor: (/** @type {import("uplot")} */ u) => this.#onCursor(u),
    };
    const drawMarks = (/** @type {import("uplot")} */ u) => drawMarkLines(u, this.model.get("marks"), theme.faint);
    /** @type {typeof this.plots} */
    const plots = {
      loss: makePlot(
        this.area,
        { label: "loss", height: 200, log, steps: false, range: log ? logLossRange : lossRange, tick: formatTick },
        {
          ...frame,
          onDraw: (u) => {
            drawMarks(u);
            this.#drawStrip(u, theme.font);
          },
        },
      ),
      accuracy: makePlot(
        this.area,
        {
          label: "accuracy, %",
          height: showsLr ? 150 : 180,
          log: false,
          steps: !showsLr,
          range: accuracyRange,
          tick: (value) => (value > 1 ? "" : String(Math.round(1000 * value) / 10)),
        },
        { ...frame, onDraw: drawMarks },
      ),
    };
    if (showsLr) {
      plots.lr = makePlot(
        this.area,
        { label: "lr", height: 110, log: false, steps: true, range: lossRange, tick: formatTick },
        { ...frame, onDraw: drawMarks },
      );
    }
    return plots;
  }

  /**
   * @param {import("uplot")} u
   * @param {string} font
   */
  #drawStrip(u, font) {
    const left = u.bbox.left / devicePixelRatio;
    const width = u.bbox.width / devicePixelRatio;
    this.strip.draw(this.model.get("marks"), { toX: (step) => u.valToPos(step, "x"), left, width, font });
    this.ghostNames.root.style.right = `${u.width - left - width + 4}px`;
  }

  /** @returns {[number, number]} the steps in view */
  #domain() {
    if (this.zoom) return this.zoom;
    const ghosts = this.store.ghosts.flatMap((ghost) => [...ghost.tracks.values()]);
    const ends = ghosts.filter((track) => track.length).map((track) => track.last.maxStep);
    return [0, Math.max(SHORTEST, this.store.lastStep ?? 0, this.store.lastPlanned, ...ends)];
  }

  /** @param {[number, number] | null} range */
  #zoomTo(range) {
    this.zoom = range;
    this.schedule();
  }

  /** @param {any} u */
  #onCursor(u) {
    const inside = u.cursor.left >= 0;
    this.cursor = inside ? u.posToVal(u.cursor.left, "x") : null;
    this.strip.point(inside ? u.cursor.left : null);
    this.#showValues();
  }

  #showValues() {
    const last = this.store.lastStep;
    const step = this.cursor === null || last === null ? last : Math.min(last, Math.max(0, this.cursor));
    this.readout.show(this.store, step === null ? null : Math.round(step));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const u = this.plots.loss?.uplot;
    if (!u || event.target !== this.area) return;
    const [from, to] = this.#domain();
    const width = u.valToPos(to, "x") - u.valToPos(from, "x");
    const stride = width / (event.shiftKey ? 10 : 100);
    const at = u.cursor.left !== undefined && u.cursor.left >= 0 ? u.cursor.left : width;
    /** @type {Record<string, number>} */
    const moves = { ArrowLeft: at - stride, ArrowRight: at + stride, Home: 0, End: width, Escape: -10 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    this.readout.root.setAttribute("aria-live", "polite");
    const left = event.key === "Escape" ? -10 : Math.min(width, Math.max(0, moves[event.key]));
    for (const plot of Object.values(this.plots)) plot.uplot?.setCursor({ left, top: 10 });
  }
}
