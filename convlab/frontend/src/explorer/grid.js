/**
 * A grid of numbered cells in an SVG: the input, the kernel or the output.
 * @typedef {import("./numbers.js").Index} Index
 */
import { svg, written } from "./dom.js";

/** Width of a cell in the units of the view box. */
export const CELL = 40;
/** Classes of numbers with so many characters. */
const LENGTHS = { 3: " long", 4: " longer", 5: " longer" };

export class Grid {
  /**
   * @param {Object} options
   * @param {number} options.dims 1: a row; 2: a square
   * @param {number} options.from index of the first cell, along each axis; negative where there is padding
   * @param {number} options.to index after the last cell
   * @param {[number, number]} options.corner where cell `from` has its upper left corner
   * @param {(at: Index) => number|string} options.value
   * @param {(at: Index) => string} options.kind class of a cell
   */
  constructor({ dims, from, to, corner, value, kind }) {
    Object.assign(this, { dims, from, to, corner });
    this.element = svg("g", { transform: `translate(${corner[0]} ${corner[1]})` });
    this.cells = new Map();
    this.marked = new Set();
    const steps = Array.from({ length: to - from }, (_, index) => from + index);
    for (const at of dims === 1 ? steps.map((place) => [place]) : steps.flatMap((row) => steps.map((col) => [row, col]))) {
      this.add(at, value(at), kind(at));
    }
  }

  add(at, value, kind) {
    const x = (at.at(-1) - this.from) * CELL;
    const y = this.dims === 1 ? 0 : (at[0] - this.from) * CELL;
    const text = typeof value === "number" ? written(value) : value;
    const number = svg("text", { x: CELL / 2, y: CELL / 2, class: `cx-number${LENGTHS[text.length] ?? ""}` }, text);
    const group = svg(
      "g",
      { class: `cx-cell ${kind}`, transform: `translate(${x} ${y})`, "data-at": at.join(",") },
      svg("rect", { x: 1.5, y: 1.5, width: CELL - 3, height: CELL - 3, rx: 3 }),
      number,
    );
    this.cells.set(at.join(","), { group, corner: null, kind });
    this.element.append(group);
  }

  /** Light a cell up. @param {Index} at @param {string} mark @param {string} [note] small text in its corner */
  mark(at, mark, note = "") {
    const cell = this.cells.get(at.join(","));
    if (!cell) return;
    cell.group.setAttribute("class", `cx-cell ${cell.kind} ${mark}${note ? " noted" : ""}`);
    if (note) {
      // Made when there is something to say: most cells never need one.
      cell.corner ??= cell.group.appendChild(svg("text", { x: CELL - 3, y: CELL - 4, class: "cx-corner" }));
    }
    if (cell.corner) cell.corner.textContent = note;
    // What is lit lies above its neighbours, outline included.
    this.element.append(cell.group);
    this.marked.add(cell);
  }

  clear() {
    for (const cell of this.marked) {
      cell.group.setAttribute("class", `cx-cell ${cell.kind}`);
      if (cell.corner) cell.corner.textContent = "";
    }
    this.marked.clear();
  }

  /** The index of the cell nearest to a point of the view box; null when it lies outside. @returns {?Index} */
  at(x, y) {
    const inside = (place) => place >= this.from && place < this.to;
    const col = Math.floor((x - this.corner[0]) / CELL) + this.from;
    const row = Math.floor((y - this.corner[1]) / CELL) + (this.dims === 1 ? 0 : this.from);
    if (!inside(col) || (this.dims === 1 ? row !== 0 : !inside(row))) return null;
    return this.dims === 1 ? [col] : [row, col];
  }

  /** The middle of a cell, in the view box. @param {Index} at @returns {[number, number]} */
  middle(at) {
    const row = this.dims === 1 ? 0.5 : at[0] - this.from + 0.5;
    return [this.corner[0] + (at.at(-1) - this.from + 0.5) * CELL, this.corner[1] + row * CELL];
  }
}
