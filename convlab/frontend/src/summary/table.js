import { count, megabytes, size } from "./format.js";

/**
 * @typedef {{path: string, kind: string, depth: number, is_leaf: boolean, output_size: number[], num_params: number,
 *   mult_adds: number, memory: number, receptive_field: string, jump: string, params_share: number,
 *   mult_adds_share: number, memory_share: number, before: Record<string, any>}} Row
 */

const COLUMNS = [
  { key: "path", label: "layer", title: "Name of the layer or function; containers fold on a click of their triangle." },
  { key: "kind", label: "kind", title: "Class of the module, or name of the function." },
  { key: "output_size", label: "output_size", title: "Size of what comes out: batch, channels, height, width.", format: size },
  { key: "num_params", label: "num_params", title: "Weights and biases.", format: count, share: "params_share" },
  {
    key: "mult_adds",
    label: "mult_adds",
    title: "Multiplications with additions in one forward pass.",
    format: count,
    share: "mult_adds_share",
  },
  { key: "memory", label: "memory, MB", title: "Memory of the output, in megabytes.", format: megabytes, share: "memory_share" },
  {
    key: "receptive_field",
    label: "receptive field, px",
    title: "How many input pixels a unit sees along each axis; global: it sees all of them, the local path in brackets.",
  },
  { key: "jump", label: "jump, px", title: "Distance in input pixels between neighbouring units (the effective stride)." },
];

/** A table whose rows stay in place while their numbers change. */
export class SummaryTable {
  /**
   * @param {HTMLElement} el
   * @param {(path: string) => void} onSelect
   */
  constructor(el, onSelect) {
    this.onSelect = onSelect;
    /** @type {Set<string>} */
    this.folded = new Set();
    /** @type {Row[]} */
    this.rows = [];
    this.selected = "";
    el.classList.add("convlab", "convlab-summary");
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const column of COLUMNS) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = column.label;
      cell.title = column.title;
      head.append(cell);
    }
    this.body = table.createTBody();
    this.foot = document.createElement("div");
    this.foot.className = "convlab-summary-totals";
    this.error = document.createElement("div");
    this.error.className = "convlab-error";
    this.error.setAttribute("role", "status");
    const scroll = document.createElement("div");
    scroll.className = "convlab-summary-scroll";
    scroll.append(table);
    el.replaceChildren(scroll, this.error, this.foot);
  }

  /**
   * @param {Row[]} rows
   * @param {Record<string, any>} totals
   * @param {string} error
   * @param {string} selected
   */
  draw(rows, totals, error, selected) {
    this.rows = rows;
    while (this.body.rows.length > rows.length) this.body.deleteRow(-1);
    rows.forEach((row, index) => this.drawRow(this.body.rows[index] ?? this.newRow(), row));
    this.error.textContent = error;
    this.error.hidden = !error;
    this.foot.replaceChildren(...Object.entries(totals).map(([name, value]) => total(name, value)));
    this.fold();
    this.select(selected);
  }

  newRow() {
    const line = this.body.insertRow();
    for (const column of COLUMNS) {
      const cell = document.createElement(column.key === "path" ? "th" : "td");
      if (column.key === "path") {
        const fold = document.createElement("button");
        fold.className = "convlab-fold";
        fold.addEventListener("click", () => this.toggle(line.dataset.path ?? ""));
        const name = document.createElement("button");
        name.className = "convlab-row-name";
        name.addEventListener("click", () => this.onSelect(line.dataset.path ?? ""));
        cell.append(fold, name);
      } else {
        cell.className = column.format ? "convlab-number" : "";
      }
      line.append(cell);
    }
    return line;
  }

  /**
   * @param {HTMLTableRowElement} line
   * @param {Row} row
   */
  drawRow(line, row) {
    line.dataset.path = row.path;
    line.className = row.is_leaf ? "convlab-leaf" : "convlab-container";
    COLUMNS.forEach((column, index) => {
      const cell = line.cells[index];
      const value = /** @type {any} */ (row)[column.key];
      if (column.key === "path") this.drawName(cell, row);
      else drawValue(cell, value, row, column);
    });
  }

  /**
   * @param {HTMLTableCellElement} cell
   * @param {Row} row
   */
  drawName(cell, row) {
    const [fold, name] = /** @type {any} */ (cell.children);
    cell.style.paddingLeft = `${0.4 + row.depth}em`;
    fold.hidden = row.is_leaf;
    fold.textContent = this.folded.has(row.path) ? "▸" : "▾";
    fold.setAttribute("aria-label", `Fold ${row.path}`);
    fold.setAttribute("aria-expanded", String(!this.folded.has(row.path)));
    name.textContent = row.path.split(".").at(-1) ?? "";
    name.title = `${row.path}: show its receptive field`;
  }

  /** @param {string} path */
  toggle(path) {
    if (!this.folded.delete(path)) this.folded.add(path);
    this.rows.forEach((row, index) => this.drawName(this.body.rows[index].cells[0], row));
    this.fold();
  }

  fold() {
    const closed = [...this.folded];
    this.rows.forEach((row, index) => {
      this.body.rows[index].hidden = closed.some((path) => row.path.startsWith(`${path}.`));
    });
  }

  /** @param {string} path */
  select(path) {
    this.selected = path;
    for (const line of this.body.rows) line.toggleAttribute("data-selected", line.dataset.path === path);
  }
}

/**
 * @param {HTMLTableCellElement} cell
 * @param {any} value
 * @param {Row} row
 * @param {{key: string, format?: (value: any) => string, share?: string}} column
 */
function drawValue(cell, value, row, column) {
  const format = column.format ?? String;
  const before = row.before[column.key];
  const text = format(value);
  cell.textContent = before === undefined ? text : `${format(before)} → ${text}`;
  cell.toggleAttribute("data-changed", before !== undefined);
  const share = column.share && row.is_leaf ? /** @type {any} */ (row)[column.share] : 0;
  cell.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
  cell.title = share ? `${(100 * share).toFixed(1)} % of the total` : "";
  cell.toggleAttribute("data-dominant", share >= 0.5);
}

/**
 * @param {string} name
 * @param {any} value
 */
function total(name, value) {
  const item = document.createElement("span");
  const number = document.createElement("strong");
  number.textContent = value;
  item.append(`${name} `, number);
  return item;
}
