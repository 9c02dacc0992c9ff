import { element } from "./element.js";

/**
 * What a person changed during the run: a line across the plots and a label above them.
 * @typedef {{step: number, label: string}} Mark
 * @typedef {{x: number, text: string}} Group
 * @typedef {{left: number, width: number} | "tick" | "covered"} Place where the label stands, or that only a tick
 *   has room, or that a newer label lies there
 */

/** Marks closer than this many pixels share one label. */
const NEAR = 6;
/** Pixels: the widest label, the narrowest piece of one that still says something, what stays free between two. */
const WIDEST = 260;
const NARROWEST = 48;
const GAP = 6;

/**
 * @param {Mark[]} marks
 * @param {(step: number) => number} toX
 * @param {number} width of the plotting area; marks outside are left out
 * @returns {Group[]} from left to right
 */
export function groupMarks(marks, toX, width) {
  /** @type {Group[]} */
  const groups = [];
  for (const mark of [...marks].sort((a, b) => a.step - b.step)) {
    const x = toX(mark.step);
    if (x < -1 || x > width + 1) continue;
    const last = groups[groups.length - 1];
    if (last && x - last.x < NEAR) last.text += ` · ${mark.label}`;
    else groups.push({ x, text: mark.label });
  }
  return groups;
}

/**
 * Where there is room for which label: the newest chooses first, on the side of its line that has more room. It is
 * what a person has just done, so it may also cover the marks before it.
 * @param {{x: number, wide: number}[]} groups from left to right, with the width that each label wants
 * @param {number} width
 * @returns {Place[]}
 */
export function placeLabels(groups, width) {
  /** @type {Place[]} */
  const places = groups.map(() => "tick");
  let end = width;
  for (let i = groups.length - 1; i >= 0; i--) {
    const { x, wide } = groups[i];
    const right = end - x;
    const free = x - (i > 0 ? groups[i - 1].x + GAP : 0);
    if (right < 0) places[i] = "covered";
    else if (right >= wide) places[i] = { left: x, width: wide };
    else if (Math.max(free, right) >= Math.min(wide, NARROWEST)) {
      const room = Math.min(wide, Math.max(free, right));
      places[i] = { left: free > right ? x - room : x, width: room };
    } else if (i === groups.length - 1) {
      const room = Math.min(wide, x);
      places[i] = { left: x - room, width: room };
    }
    const place = places[i];
    if (place !== "covered") end = (place === "tick" ? x : Math.min(x, place.left)) - GAP;
  }
  return places;
}

/** The strip of labels above the plots. */
export class MarkStrip {
  constructor() {
    this.root = element("div", { class: "convlab-chart-marks" });
    /** @type {Group[]} */
    this.groups = [];
    this.measure = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  }

  /**
   * @param {Mark[]} marks
   * @param {{toX: (step: number) => number, left: number, width: number, font: string}} area
   */
  draw(marks, { toX, left, width, font }) {
    this.groups = groupMarks(marks, toX, width);
    this.root.style.marginLeft = `${left}px`;
    this.root.style.width = `${width}px`;
    this.measure.font = font;
    const widthOf = (/** @type {string} */ text) => Math.min(WIDEST, this.measure.measureText(text).width + 12);
    const places = placeLabels(this.groups.map(({ x, text }) => ({ x, wide: widthOf(text) })), width);
    while (this.root.children.length > this.groups.length) this.root.lastChild?.remove();
    this.groups.forEach((group, i) => {
      const label = /** @type {HTMLElement} */ (this.root.children[i] ?? this.root.appendChild(element("span")));
      const place = places[i];
      const text = typeof place === "object" ? group.text : "▾";
      // Elements are kept and changed only where they differ, so that a tooltip stays open during a run.
      if (label.title !== group.text) label.title = group.text;
      if (label.textContent !== text) label.textContent = text;
      if (typeof place === "object") {
        label.className = place.left < group.x ? "is-left" : "is-right";
        label.style.left = `${place.left}px`;
        label.style.width = `${place.width}px`;
      } else {
        label.className = `is-${place}`;
        label.style.left = `${group.x}px`;
        label.style.width = "";
      }
    });
  }

  /** @param {number | null} x position of the cursor: the whole label of a mark beneath it is shown */
  point(x) {
    const at = x === null ? -1 : this.groups.findIndex((group) => Math.abs(group.x - x) < NEAR);
    [...this.root.children].forEach((label, i) => {
      label.classList.toggle("is-near", i === at);
      if (i === at) label.textContent = this.groups[i].text;
    });
  }
}

/**
 * Draws the lines of the marks across a plot.
 * @param {import("uplot")} u
 * @param {Mark[]} marks
 * @param {string} colour
 */
export function drawMarkLines(u, marks, colour) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.strokeStyle = colour;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const mark of marks) {
    const x = Math.round(u.valToPos(mark.step, "x", true)) + 0.5;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}
