import { element } from "../chart/element.js";

/**
 * @typedef {{name: string, label: string, tooltip: string, numeric: boolean}} Column
 * @typedef {{text: string, sort: number | string | null, differs: boolean, was: string}} Cell
 * @typedef {{id: number, name: string, cells: Cell[], shown: boolean, note: string, removable: boolean, why: string, about: string}} Row
 * @typedef {(type: "select" | "shown" | "note" | "remove", run: number, value: any) => void} Tell
 */

/** The column of the names. */
const NAME = "run";

/** One line a run. A head is a button that sorts, a name one that makes its run the one that others are held against. */
export class RunsTable {
  /** @param {Tell} tell */
  constructor(tell) {
    this.tell = tell;
    this.head = element("tr");
    this.body = element("tbody");
    const table = element("table", {}, element("thead", {}, this.head), this.body);
    // Wider than a narrow page: with the focus on it, arrow keys scroll it.
    this.root = element("div", { class: "convlab-runs-scroll", tabindex: "0", role: "region", "aria-label": "Table of runs" }, table);
    /** @type {{by: string, down: boolean} | null} */
    this.order = null;
    this.drawn = "";
    /** @type {Map<number, HTMLTableRowElement>} */
    this.lines = new Map();
  }

  /**
   * @param {Column[]} columns
   * @param {Row[]} rows
   * @param {number} selected
   */
  show(columns, rows, selected) {
    this.given = /** @type {const} */ ([columns, rows, selected]);
    const shape = JSON.stringify([columns, this.order]);
    if (shape !== this.drawn) {
      this.drawn = shape;
      const last = element("th", { scope: "col", "aria-label": "Remove" });
      this.head.replaceChildren(...columns.map((one) => this.#sorter(one)), head("Note", "Yours to write."), last);
    }
    const kept = new Map(rows.map((row) => [row.id, this.lines.get(row.id) ?? this.#line(row.id)]));
    this.lines = kept;
    const sorted = this.#sorted(columns, rows);
    sorted.forEach((row) => fill(/** @type {HTMLTableRowElement} */ (kept.get(row.id)), columns, row, selected));
    const lines = sorted.map((row) => /** @type {HTMLTableRowElement} */ (kept.get(row.id)));
    // Moving a line takes the focus from what is typed in it.
    if (lines.some((line, i) => this.body.children[i] !== line) || this.body.children.length !== lines.length) {
      this.body.replaceChildren(...lines);
    }
  }

  /** @param {Column} column */
  #sorter(column) {
    const by = this.order?.by === column.name ? (this.order.down ? "descending" : "ascending") : "none";
    const arrow = { ascending: " ▴", descending: " ▾", none: "" }[by];
    const button = element("button", { type: "button", title: `${column.tooltip} Click to sort.` }, column.label + arrow);
    button.addEventListener("click", () => {
      const again = this.order?.by === column.name;
      this.order = again && this.order?.down ? null : { by: column.name, down: again };
      if (this.given) this.show(...this.given);
      /** @type {HTMLElement | null} */ (this.head.querySelector(`[data-name="${CSS.escape(column.name)}"] button`))?.focus();
    });
    const made = element("th", { scope: "col", "aria-sort": by, "data-name": column.name, class: kind(column) }, button);
    made.classList.toggle("is-name", column.name === NAME);
    return made;
  }

  /**
   * @param {Column[]} columns
   * @param {Row[]} rows
   */
  #sorted(columns, rows) {
    const at = columns.findIndex((column) => column.name === this.order?.by);
    if (at < 0) return rows;
    const way = this.order?.down ? -1 : 1;
    return [...rows].sort((a, b) => compare(a.cells[at].sort, b.cells[at].sort, way));
  }

  /** @param {number} run */
  #line(run) {
    const shown = element("input", { type: "checkbox", title: "Draw its curve below." });
    shown.addEventListener("change", () => this.tell("shown", run, shown.checked));
    const name = element("button", { type: "button" });
    name.addEventListener("click", () => this.tell("select", run, null));
    const note = element("input", { type: "text", maxlength: "200", placeholder: "add a note", title: "Yours to write." });
    const tellNote = () => this.tell("note", run, note.value);
    note.addEventListener("change", tellNote);
    // JupyterLab takes Enter's own effect away.
    note.addEventListener("keydown", (event) => event.key === "Enter" && tellNote());
    const remove = element("button", { type: "button", class: "is-remove" }, "✕");
    remove.addEventListener("click", () => this.tell("remove", run, null));
    const first = element("th", { scope: "row", class: "is-name" }, element("div", {}, shown, name));
    return element("tr", {}, first, element("td", {}, note), element("td", {}, remove));
  }
}

/**
 * @param {HTMLTableRowElement} line
 * @param {Column[]} columns
 * @param {Row} row
 * @param {number} selected
 */
function fill(line, columns, row, selected) {
  line.classList.toggle("is-selected", row.id === selected);
  const [first] = line.children;
  const [note, last] = [...line.children].slice(-2);
  const shown = /** @type {HTMLInputElement} */ (first.querySelector("input"));
  const name = /** @type {HTMLButtonElement} */ (first.querySelector("button"));
  name.textContent = row.name;
  name.title = `Hold the others against ${row.name}. ${row.about}`.trim();
  name.setAttribute("aria-pressed", String(row.id === selected));
  shown.checked = row.shown;
  shown.setAttribute("aria-label", `Draw ${row.name}`);
  const input = /** @type {HTMLInputElement} */ (note.firstChild);
  input.setAttribute("aria-label", `Note on ${row.name}`);
  if (document.activeElement !== input) input.value = row.note;
  const remove = /** @type {HTMLButtonElement} */ (last.firstChild);
  remove.disabled = !row.removable;
  remove.title = row.removable ? `Take ${row.name} out of the table.` : row.why;
  remove.setAttribute("aria-label", `Remove ${row.name}`);
  const cells = row.cells.map((cell, i) => {
    if (columns[i].name === NAME) return first;
    const made = element("td", { class: `is-cell ${kind(columns[i])}${cell.differs ? " is-different" : ""}` }, cell.text);
    made.title = cell.differs ? `${cell.text}, in the selected run ${cell.was}` : cell.text;
    return made;
  });
  replaceAround(line, [...cells, note, last]);
}

/**
 * What is taken out of the page, if only for a moment, loses the focus: what was there before stays where it is.
 * @param {Element} parent
 * @param {Element[]} children
 */
function replaceAround(parent, children) {
  const kept = new Set(children);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  children.forEach((child, i) => {
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
  });
}

/** @param {Column} column */
const kind = (column) => (column.numeric ? "is-number" : "is-text");

/**
 * @param {string} text
 * @param {string} tooltip
 */
const head = (text, tooltip) => element("th", { scope: "col", title: tooltip }, text);

/**
 * What is missing comes last, either way.
 * @param {number | string | null} a
 * @param {number | string | null} b
 * @param {number} way
 */
function compare(a, b, way) {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  if (typeof a === "number" && typeof b === "number") return way * (a - b);
  return way * String(a).localeCompare(String(b), undefined, { numeric: true });
}
