import { drawnOver } from "./nearest.js";

/** A trace that the mouse draws over the plot while its button is down. */
export class Hand {
  /**
   * @param {HTMLElement} area
   * @param {{active: () => boolean, plot: () => import("uplot") | null, draw: () => void,
   *   done: (trace: [number, number][]) => void}} bench
   */
  constructor(area, bench) {
    this.bench = bench;
    /** @type {[number, number][]} */
    this.trace = [];
    /** @type {number | null} */
    this.last = null;
    area.addEventListener("pointerdown", (event) => {
      if (!bench.active() || event.button !== 0) return;
      area.setPointerCapture(event.pointerId);
      this.trace = [];
      this.#add(event, true);
    });
    area.addEventListener("pointermove", (event) => {
      if (this.last !== null) this.#add(event, false);
    });
    for (const type of ["pointerup", "pointercancel"]) {
      area.addEventListener(type, () => {
        if (this.last === null) return;
        this.last = null;
        const trace = this.trace;
        this.trace = [];
        bench.draw();
        if (trace.length > 1) bench.done(trace);
      });
    }
  }

  /**
   * @param {PointerEvent} event
   * @param {boolean} first
   */
  #add(event, first) {
    const u = this.bench.plot();
    if (!u) return;
    const box = u.over.getBoundingClientRect();
    const left = Math.min(box.width, Math.max(0, event.clientX - box.left));
    const top = Math.min(box.height, Math.max(0, event.clientY - box.top));
    const [x, y] = [u.posToVal(left, "x"), u.posToVal(top, "y")];
    this.trace = drawnOver(this.trace, x, y, first ? x : (this.last ?? x));
    this.last = x;
    this.bench.draw();
  }
}
