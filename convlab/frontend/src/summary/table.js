import { COLUMNS, row as rowOf } from "./columns.js";
import { useFontOf, width } from "./measure.js";

/** @typedef {import("./columns.js").Row} Row */
/** @typedef {import("./columns.js").Column} Column */
/** @typedef {{pick: (path: string) => void, choose: (columns: string[]) => void}} Actions */

/** In digits; what is longer ends in dots, and is whole in its tooltip. */
const LONGEST_NAME = 18;

/** A table whose rows stay in place while their numbers change; a cell is only touched where it says something new. */
export class SummaryTable {
  /**
   * @param {HTMLElement} el
   * @param {Actions} actions
   */
  constructor(el, actions) {
    this.actions = actions;
    /** @type {Set<string>} */
    this.folded = new Set();
    /** @type {Row[]} */
    this.rows = [];
    /** @type {Column[]} */
    this.columns = [];
    /** @type {Record<string, string>} */
    this.largest = {};
    this.selected = "";
    /** What each cell's bar says: to ask its style is slow. @type {WeakMap<HTMLElement, string>} */
    this.parts = new WeakMap();
    el.classList.add("convlab", "convlab-summary");
    this.table = element("table");
    this.head = this.table.createTHead().insertRow();
    this.body = this.table.createTBody();
    // The rows are grids to the browser (see summary.css); to a screen reader they stay rows.
    this.table.setAttribute("role", "table");
    for (const group of [this.head.parentElement, this.body]) group?.setAttribute("role", "rowgroup");
    this.head.setAttribute("role", "row");
    this.bar = element("div", "convlab-summary-bar");
    this.most = element("div", "convlab-summary-most");
    this.folds = element("div", "convlab-summary-folds");
    this.folds.append(
      button("Fold all", "Show the outermost containers only.", () => this.foldAll(true)),
      button("Unfold all", "Show every layer.", () => this.foldAll(false)),
    );
    this.chooser = element("details", "convlab-summary-chooser");
    this.chooser.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.chooser.open) return;
      this.chooser.open = false;
      this.chooser.querySelector("summary")?.focus();
    });
    this.bar.append(this.most, this.folds, this.chooser);
    this.foot = element("div", "convlab-summary-totals");
    this.error = element("div", "convlab-error");
    this.error.setAttribute("role", "status");
    this.error.setAttribute("aria-live", "polite");
    const scroll = element("div", "convlab-summary-scroll");
    scroll.tabIndex = 0; // to be scrolled by keys
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Summary of the model");
    scroll.append(this.table);
    el.replaceChildren(this.bar, scroll, this.foot, this.error);
  }

  /**
   * @param {{rows: any[][], totals: string[][], largest: string[][]}} facts
   * @param {string} error
   * @param {string[]} columns
   */
  draw({ rows, totals, largest }, error, columns) {
    this.rows = rows.map(rowOf);
    this.setColumns(columns);
    this.largest = Object.fromEntries(largest.map((/** @type {string[]} */ [name, , path]) => [name, path]));
    while (this.body.rows.length > this.rows.length) this.body.deleteRow(-1);
    while (this.body.rows.length < this.rows.length) this.addRow();
    if (this.table.isConnected) useFontOf(this.table);
    const widths = [8, ...this.columns.map(({ room, label }) => Math.max(room, width(label)))];
    this.rows.forEach((row, index) => {
      this.drawRow(this.body.rows[index], row).forEach((needed, column) => {
        if (needed > widths[column]) widths[column] = needed;
      });
    });
    this.setWidths(widths);
    write(this.error, error);
    this.error.hidden = !error;
    this.drawMost(largest);
    this.drawTotals(totals);
    this.folds.hidden = this.rows.every((row) => row.isLeaf);
    this.fold();
  }

  /** @param {string[]} names */
  setColumns(names) {
    if (this.columns.map((column) => column.key).join() === names.join()) return;
    this.columns = COLUMNS.filter((column) => names.includes(column.key));
    this.body.replaceChildren();
    this.head.replaceChildren(heading("layer", "Name of the layer or function. Click it to see its receptive field."));
    for (const { label, title, isNumber } of this.columns) this.head.append(heading(label, title, isNumber));
    const summary = element("summary");
    summary.textContent = "Columns";
    const list = element("div", "convlab-summary-choices");
    for (const { key, label, title } of COLUMNS) {
      const choice = element("label");
      const box = element("input");
      box.type = "checkbox";
      box.checked = names.includes(key);
      box.addEventListener("change", () => {
        const now = COLUMNS.filter((c) => (c.key === key ? box.checked : this.columns.includes(c)));
        this.actions.choose(now.map((c) => c.key));
      });
      choice.title = title;
      choice.append(box, label);
      list.append(choice);
    }
    const focused = this.chooser.contains(document.activeElement)
      ? [...this.chooser.querySelectorAll("input")].indexOf(/** @type {any} */ (document.activeElement))
      : -1;
    this.chooser.replaceChildren(summary, list);
    this.chooser.querySelectorAll("input")[focused]?.focus();
  }

  /** @param {number[]} widths  in digits */
  setWidths(widths) {
    const columns = widths.map((digits) => `minmax(calc(${digits.toFixed(1)}ch + 13px), ${digits.toFixed(1)}fr)`).join(" ");
    if (this.table.style.getPropertyValue("--columns") === columns) return;
    this.table.style.setProperty("--columns", columns);
    const digits = widths.reduce((sum, one) => sum + one, 0);
    this.table.style.minWidth = `calc(${digits.toFixed(1)}ch + ${13 * widths.length}px)`;
  }

  addRow() {
    const line = this.body.insertRow();
    line.setAttribute("role", "row");
    const cell = element("th");
    cell.scope = "row";
    cell.setAttribute("role", "rowheader");
    cell.append(
      button("", "", () => this.toggle(this.at(line).path), "convlab-fold"),
      button("", "", () => this.actions.pick(this.at(line).path), "convlab-row-name"),
      element("span", "convlab-row-call"),
    );
    line.append(cell);
    for (const column of this.columns) {
      const data = element("td", column.isNumber ? "convlab-number" : "convlab-words");
      data.setAttribute("role", "cell");
      data.append(element("span", "convlab-was"), element("span"));
      line.append(data);
    }
  }

  /** @param {HTMLTableRowElement} line */
  at = (line) => this.rows[line.sectionRowIndex];

  /**
   * @param {HTMLTableRowElement} line
   * @param {Row} row
   * @returns {number[]} the digits of room that each cell needs
   */
  drawRow(line, row) {
    const className = `${row.isLeaf ? "convlab-leaf" : "convlab-container"} convlab-${row.state}`;
    if (line.className !== className) line.className = className;
    this.drawName(line.cells[0], row);
    const name = Math.min(width(nameOf(row)), LONGEST_NAME) + 1.8 * row.depth + 3 + (row.call ? 5 : 0);
    return [name, ...this.columns.map((column, index) => this.drawValue(line.cells[index + 1], row, column))];
  }

  /**
   * @param {HTMLTableCellElement} cell
   * @param {Row} row
   */
  drawName(cell, row) {
    const isOpen = !this.folded.has(row.path);
    const state = [row.path, row.call, row.depth, row.isLeaf, isOpen].join("\n");
    if (cell.dataset.state === state) return;
    cell.dataset.state = state;
    const [fold, name, call] = /** @type {HTMLElement[]} */ ([...cell.children]);
    cell.style.setProperty("--depth", String(row.depth));
    fold.classList.toggle("convlab-leaf-fold", row.isLeaf);
    /** @type {HTMLButtonElement} */ (fold).disabled = row.isLeaf;
    fold.textContent = isOpen ? "▾" : "▸";
    fold.title = `${isOpen ? "Fold" : "Unfold"} ${row.path}`;
    fold.setAttribute("aria-label", fold.title);
    fold.setAttribute("aria-expanded", String(isOpen));
    name.textContent = nameOf(row);
    name.title = `${row.path || "the model"}: show its receptive field`;
    call.textContent = row.call ? ` call ${row.call + 1}` : "";
    call.title = row.call ? "The same layer, with the same weights, called once more." : "";
  }

  /**
   * @param {HTMLTableCellElement} cell
   * @param {Row} row
   * @param {Column} column
   * @returns {number} the digits of room that it needs
   */
  drawValue(cell, row, column) {
        const format = (/** @type {any} */ value) => (column.format ? column.format(value, row) : String(value));
    const isKind = column.key === "kind";
    const value = isKind ? row.kind : /** @type {any} */ (row)[column.key];
    const was = row.before[column.key];
    const isFailed = row.state === "failed";
    const text = isFailed && !isKind && column.key !== "kernel_size" ? "" : format(value);
    const wasText = was === undefined ? "" : format(was);
    const isChanged = wasText !== "" && wasText !== text;
    const [before, now] = isChanged ? change(wasText, text) : ["", text];
    write(/** @type {HTMLElement} */ (cell.firstChild), before);
    write(/** @type {HTMLElement} */ (cell.lastChild), isFailed && column.key === "output_size" ? "does not fit" : now);
    const needed = width(before) + width(now);
    toggle(cell, "data-changed", isChanged);
    if (isKind) {
      toggle(cell, "data-frozen", row.num_params > 0 && row.trainable === 0);
      toggle(cell, "data-partly-frozen", row.trainable > 0 && row.trainable < row.num_params);
      tip(cell, row.details);
      return Math.min(needed, LONGEST_NAME) + (row.trainable < row.num_params ? (row.trainable ? 12 : 7) : 0);
    }
    if (!column.share) return needed;
    const share = row.state === "ok" ? /** @type {any} */ (row)[column.share] : 0;
    const part = `${(100 * share).toFixed(1)}%`;
    if (this.parts.get(cell) !== part) {
      this.parts.set(cell, part);
      cell.style.setProperty("--share", part);
    }
    const exact = (column.exact ?? format)(value);
    tip(cell, share ? `${exact}: ${(100 * share).toFixed(1)} % of the total` : "");
    toggle(cell, "data-dominant", row.isLeaf && share > 0 && this.largest[column.key] === row.path);
    return needed;
  }

  /** @param {string[][]} largest */
  drawMost(largest) {
    const text = largest.flat().join("\n");
    if (this.most.dataset.text === text) return;
    this.most.dataset.text = text;
    this.most.replaceChildren(...(largest.length ? ["Largest: "] : []));
    largest.forEach(([, what, path, part], index) => {
      const name = button(path || "the model", `Select ${path}`, () => this.actions.pick(path), "convlab-row-name");
      this.most.append(index ? ", " : "", `${what} in `, name, ` ${part}`);
    });
  }

  /** @param {string[][]} totals */
  drawTotals(totals) {
    while (this.foot.children.length > totals.length) this.foot.lastElementChild?.remove();
    totals.forEach(([name, value, was, meaning], index) => {
      const item = /** @type {HTMLElement} */ (this.foot.children[index] ?? this.foot.appendChild(total()));
      write(/** @type {HTMLElement} */ (item.children[0]), `${name} `);
      write(/** @type {HTMLElement} */ (item.children[1]), was ? `${was} → ` : "");
      write(/** @type {HTMLElement} */ (item.children[2]), value);
      toggle(item, "data-changed", Boolean(was));
      tip(item, meaning);
    });
  }

  /** @param {boolean} all */
  foldAll(all) {
    this.folded = new Set(all ? this.rows.filter((row) => !row.isLeaf).map((row) => row.path) : []);
    this.fold();
  }

  /** @param {string} path */
  toggle(path) {
    if (!this.folded.delete(path)) this.folded.add(path);
    this.fold();
  }

  fold() {
    this.rows.forEach((row, index) => {
      const line = this.body.rows[index];
      const hidden = this.isUnderFold(row.path);
      if (line.hidden !== hidden) line.hidden = hidden;
      const isFolded = !row.isLeaf && this.folded.has(row.path);
      toggle(line, "data-folded", isFolded);
      this.drawName(line.cells[0], row);
    });
  }

  /** @param {string} path */
  isUnderFold(path) {
    if (!this.folded.size) return false;
    for (let dot = path.lastIndexOf("."); dot > 0; dot = path.lastIndexOf(".", dot - 1)) {
      if (this.folded.has(path.slice(0, dot))) return true;
    }
    return false;
  }

  /** @param {string} path */
  select(path) {
    this.selected = path;
    this.rows.forEach((row, index) => {
      toggle(this.body.rows[index], "data-selected", path !== "" && row.path === path);
    });
  }
}

/** @param {Row} row */
const nameOf = (row) => row.path.split(".").at(-1) || "the model";

/**
 * What was and what is; words that both have in front, as in "global (8×8)", are said once.
 * @param {string} was
 * @param {string} is
 */
function change(was, is) {
  const front = /^[a-z]+ \(/.exec(was)?.[0];
  return front && is.startsWith(front) ? [`${was.slice(0, -1)} → `, is.slice(front.length)] : [`${was} → `, is];
}

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {string} [className]
 */
function element(name, className = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  return made;
}

/**
 * @param {string} text
 * @param {string} title
 * @param {() => void} act
 * @param {string} [className]
 */
function button(text, title, act, className = "convlab-summary-button") {
  const made = element("button", className);
  made.type = "button";
  made.textContent = text;
  if (title) made.title = title;
  made.addEventListener("click", act);
  return made;
}

/**
 * @param {string} label
 * @param {string} title
 * @param {boolean} [isNumber]
 */
function heading(label, title, isNumber = false) {
  const made = element("th", isNumber ? "convlab-number" : "");
  const words = element("span");
  made.scope = "col";
  made.title = title;
  made.setAttribute("role", "columnheader");
  words.textContent = label;
  made.append(words);
  return made;
}

function total() {
  const item = element("span");
  item.append(element("span"), element("span", "convlab-was"), element("strong"));
  return item;
}

/**
 * @param {HTMLElement} node
 * @param {string} text
 */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * @param {HTMLElement} node
 * @param {string} text
 */
function tip(node, text) {
  if (node.title !== text) node.title = text;
}

/**
 * @param {Element} node
 * @param {string} name
 * @param {boolean} isOn
 */
function toggle(node, name, isOn) {
  if (node.hasAttribute(name) !== isOn) node.toggleAttribute(name, isOn);
}
