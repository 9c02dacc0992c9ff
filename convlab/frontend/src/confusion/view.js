import { element } from "../chart/element.js";

/** @typedef {(row: number, column: number) => void} Pick */

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** The grid. One cell is in the order of tabs; arrows, Home and End go from there, Enter and Space pick. */
export class ConfusionView {
  /** @param {Pick} pick */
  constructor(pick) {
    this.pick = pick;
    this.table = element("table", { role: "grid", "aria-label": "Confusion matrix: rows are targets, columns predictions" });
    const across = element("div", { class: "convlab-confusion-axis" }, "predicted \u2192");
    const down = element("div", { class: "convlab-confusion-axis" }, "target \u2193");
    const scroll = element("div", { class: "convlab-confusion-scroll" }, this.table);
    this.root = element("div", {}, element("div", { class: "convlab-confusion-axes" }, down, across), scroll);
    this.shape = "";
    /** @type {HTMLTableCellElement[][]} */
    this.cells = [];
    this.at = [0, 0];
    this.table.addEventListener("click", (event) => this.#on(event, (row, column) => this.#choose(row, column)));
    this.table.addEventListener("keydown", (event) => this.#on(event, (row, column) => this.#key(event, row, column)));
  }

  /**
   * @param {string[]} classes
   * @param {number[][]} counts
   * @param {number[]} picked
   */
  show(classes, counts, picked) {
    const shape = JSON.stringify(classes);
    if (shape !== this.shape) {
      this.shape = shape;
      this.at = [0, 0];
      this.#build(classes);
    }
    counts.forEach((row, i) => {
      const all = row.reduce((sum, count) => sum + count, 0);
      row.forEach((count, j) => this.cells[i] && fill(this.cells[i][j], classes, i, j, count, all));
    });
    this.cells.forEach((row, i) =>
      row.forEach((cell, j) => {
        cell.setAttribute("aria-selected", String(picked[0] === i && picked[1] === j));
      }),
    );
  }

  /** @param {string[]} classes */
  #build(classes) {
    const head = (/** @type {string} */ name, /** @type {string} */ scope) =>
      element("th", { scope, title: name }, element("span", {}, name));
    const top = element("tr", {}, element("td", { "aria-hidden": "true" }), ...classes.map((name) => head(name, "col")));
    this.cells = classes.map(() => classes.map(() => element("td", { role: "gridcell", tabindex: "-1" })));
    const rows = classes.map((name, i) => element("tr", {}, head(name, "row"), ...this.cells[i]));
    this.table.replaceChildren(element("thead", {}, top), element("tbody", {}, ...rows));
    if (classes.length) this.cells[0][0].tabIndex = 0;
  }

  /**
   * @param {Event} event
   * @param {Pick} act
   */
  #on(event, act) {
    const cell = /** @type {Element} */ (event.target).closest("td[role=gridcell]");
    const row = this.cells.findIndex((cells) => cells.includes(/** @type {any} */ (cell)));
    if (row >= 0) act(row, this.cells[row].indexOf(/** @type {any} */ (cell)));
  }

  /**
   * @param {number} row
   * @param {number} column
   */
  #choose(row, column) {
    this.#go(row, column);
    this.pick(row, column);
  }

  /**
   * @param {number} row
   * @param {number} column
   */
  #go(row, column) {
    this.cells[this.at[0]][this.at[1]].tabIndex = -1;
    this.at = [row, column];
    this.cells[row][column].tabIndex = 0;
    this.cells[row][column].focus();
  }

  /**
   * @param {KeyboardEvent} event
   * @param {number} row
   * @param {number} column
   */
  #key(event, row, column) {
    const last = this.cells.length - 1;
    const within = (/** @type {number} */ place) => Math.min(Math.max(place, 0), last);
    const move = MOVES[/** @type {keyof typeof MOVES} */ (event.key)];
    if (move) this.#go(within(row + move[0]), within(column + move[1]));
    else if (event.key === "Home") this.#go(row, 0);
    else if (event.key === "End") this.#go(row, last);
    else if (event.key === "Enter" || event.key === " ") this.#choose(row, column);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/**
 * @param {HTMLTableCellElement} cell
 * @param {string[]} classes
 * @param {number} row
 * @param {number} column
 * @param {number} count
 * @param {number} all of the row
 */
function fill(cell, classes, row, column, count, all) {
  const samples = `${count.toLocaleString("en")} of ${all.toLocaleString("en")} samples`;
  const told = row === column ? `${classes[row]}, right: ${samples}` : `${classes[row]} taken for ${classes[column]}: ${samples}`;
  if (cell.title === told) return;
  cell.title = told;
  cell.setAttribute("aria-label", told);
  cell.textContent = count ? count.toLocaleString("en") : "";
  cell.classList.toggle("is-right", row === column);
  // A root: one mistake in a hundred is seen, too. Half of the colour at most: the text keeps its contrast.
  cell.style.setProperty("--share", `${all ? Math.round(50 * Math.sqrt(count / all)) : 0}%`);
}
