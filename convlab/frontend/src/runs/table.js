import { element } from "../chart/element.js";

/**
 * @typedef {{name: string, label: string, tooltip: string, numeric: boolean}} Column
 * @typedef {{text: string, sort: number | string | null, differs: boolean, was: string}} Cell
 * @typedef {{id: number, name: string, cells: Cell[], shown: boolean, note: string, removable: boolean, why: string}} Row
 * @typedef {(type: "select" | "shown" | "note" | "remove", run: number, value: any) => void} Tell
 */

/** One line a run. A click on a head sorts, a click on a name makes that run the one that others are held against. */
export class RunsTable {
  /** @param {Tell} tell */
  constructor(tell) {
    this.tell = tell;
    this.head = element("tr");
    this.body = element("tbody");
    const table = element("table", {}, element("thead", {}, this.head), this.body);
    this.root = element("div", { class: "convlab-runs-scroll" }, table);
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
      this.head.replaceChildren(head("Chart", "Draw this run's curve below."), ...columns.map((one) => this.#sorter(one)));
      this.head.append(head("Note", "Yours to write."), head("", ""));
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
    return element("th", { scope: "col", "aria-sort": by, "data-name": column.name, class: kind(column) }, button);
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
    const shown = element("input", { type: "checkbox" });
    shown.addEventListener("change", () => this.tell("shown", run, shown.checked));
    const note = element("input", { type: "text", maxlength: "200", placeholder: "…", "aria-label": "Note" });
    note.addEventListener("change", () => this.tell("note", run, note.value));
    const remove = element("button", { type: "button", class: "is-remove" }, "✕");
    remove.addEventListener("click", () => this.tell("remove", run, null));
    const line = element("tr", {}, element("td", {}, shown), element("td", {}, note), element("td", {}, remove));
    line.addEventListener("click", (event) => {
      if (/** @type {Element} */ (event.target).closest("td.is-cell")) this.tell("select", run, null);
    });
    return line;
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
  line.setAttribute("aria-selected", String(row.id === selected));
  const [first] = line.children;
  const [note, last] = [...line.children].slice(-2);
  const shown = /** @type {HTMLInputElement} */ (first.firstChild);
  shown.checked = row.shown;
  shown.setAttribute("aria-label", `Draw ${row.name}`);
  const input = /** @type {HTMLInputElement} */ (note.firstChild);
  if (document.activeElement !== input) input.value = row.note;
  const remove = /** @type {HTMLButtonElement} */ (last.firstChild);
  remove.disabled = !row.removable;
  remove.title = row.removable ? `Take ${row.name} out of the table.` : row.why;
  remove.setAttribute("aria-label", `Remove ${row.name}`);
  const cells = row.cells.map((cell, i) => {
    const made = element("td", { class: `is-cell ${kind(columns[i])}${cell.differs ? " is-different" : ""}` }, cell.text);
    made.title = cell.differs ? `${cell.text}, in the selected run ${cell.was}` : cell.text;
    return made;
  });
  line.replaceChildren(first, ...cells, note, last);
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
