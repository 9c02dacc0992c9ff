import { dim, enlarge, fit, frame, grid, tinted } from "./paint.js";

/** @typedef {import("./paint.js").Field} Field */
/** @typedef {(move: "pixel" | "step" | "unit", to: [number, number]) => void} OnMove */

const SIDE = 420;
const GRID_SIDE = 180;
const HELP = "Click the picture, or step from unit to unit with the arrow keys.";

/** The picture with the theoretical field as a frame and the effective one as a glow; beside it the units to choose. */
export class FieldView {
  /**
   * @param {HTMLElement} el
   * @param {OnMove} onMove
   */
  constructor(el, onMove) {
    el.classList.add("convlab", "convlab-field");
    this.onMove = onMove;
    /** @type {Field | null} */
    this.field = null;
    this.picture = this.canvas("pixel", () => this.field?.size ?? [1, 1]);
    this.grid = this.canvas("unit", () => this.field?.units ?? [1, 1]);
    this.theory = legend("convlab-field-theory", "Every pixel that can reach the unit, whatever the weights.");
    this.effect = legend("convlab-field-effect", "How much each pixel moves the unit, with the weights as they are.");
    this.gridTitle = div("convlab-field-grid-title");
    const help = div("convlab-field-help");
    help.textContent = HELP;
    const words = div("convlab-field-words");
    words.setAttribute("role", "status");
    words.setAttribute("aria-live", "polite");
    words.append(this.theory, this.effect);
    const side = div("convlab-field-side");
    side.append(words, this.gridTitle, this.grid, help);
    const frames = div("convlab-field-picture");
    frames.append(this.picture);
    el.replaceChildren(frames, side);
  }

  /**
   * @param {"pixel" | "unit"} move
   * @param {() => [number, number]} size
   */
  canvas(move, size) {
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    let last = "";
    const point = (/** @type {PointerEvent} */ event) => {
      const box = canvas.getBoundingClientRect();
      const [rows, columns] = size();
      const row = Math.floor(((event.clientY - box.top - canvas.clientTop) / canvas.clientHeight) * rows);
      const column = Math.floor(((event.clientX - box.left - canvas.clientLeft) / canvas.clientWidth) * columns);
      const to = /** @type {[number, number]} */ ([clamp(row, rows), clamp(column, columns)]);
      if (event.type === "pointermove" && String(to) === last) return;
      last = String(to);
      this.onMove(move, to);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      point(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && point(event));
    canvas.addEventListener("keydown", (event) => this.step(event));
    return canvas;
  }

  /** @param {KeyboardEvent} event */
  step(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = /** @type {Record<string, number[]>} */ (moves)[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.onMove("step", /** @type {[number, number]} */ (move));
  }

  /** @param {Field} field */
  draw(field) {
    this.field = field;
    const { size, picture, box, local, units, unit, theory, effect, title } = field;
    say(this.theory, theory);
    say(this.effect, effect);
    if (!size[0] || picture.length !== size[0] * size[1] * 3) return;
    const scale = fit(this.picture, ...size, SIDE);
    const context = enlarge(this.picture, tinted(field));
    if (box.length) {
      dim(context, box, scale);
      frame(context, box, scale);
    }
    if (local.length) frame(context, local, scale, { dashed: true, width: 2 });
    this.picture.setAttribute("aria-label", `${theory} ${effect} ${HELP}`);
    if (!units[0]) return;
    const [row, column] = unit;
    const gridScale = fit(this.grid, ...units, GRID_SIDE);
    frame(enlarge(this.grid, grid(field)), [row, row, column, column], gridScale, { width: 2 });
    this.gridTitle.textContent = `The ${units[0]} × ${units[1]} units of ${title}: click one`;
    this.gridTitle.title = "Brighter: more active on this picture, averaged over the channels.";
    this.grid.setAttribute("aria-label", `Unit ${row}, ${column} of the ${units[0]} by ${units[1]} units of ${title}.`);
  }
}

/** @param {string} className */
function div(className) {
  const made = document.createElement("div");
  made.className = className;
  return made;
}

/**
 * @param {string} className
 * @param {string} title
 */
function legend(className, title) {
  const made = div(`convlab-field-legend ${className}`);
  made.title = title;
  made.append(div("convlab-field-swatch"), document.createElement("span"));
  return made;
}

/**
 * @param {HTMLElement} place
 * @param {string} text
 */
function say(place, text) {
  const words = /** @type {HTMLElement} */ (place.lastElementChild);
  if (words.textContent !== text) words.textContent = text;
  place.hidden = !text;
}

/**
 * @param {number} at
 * @param {number} count
 */
const clamp = (at, count) => Math.min(Math.max(at, 0), count - 1);
