/** @typedef {{height: number, width: number, picture: Uint8Array, box: number[], effective: Uint8Array, caption: string}} Field */

const SIDE = 420;

/** The picture, enlarged to `SIDE` CSS pixels, the theoretical field as a frame and the effective one as a glow. */
export class FieldView {
  /**
   * @param {HTMLElement} el
   * @param {(row: number, column: number) => void} onPick
   */
  constructor(el, onPick) {
    el.classList.add("convlab", "convlab-field");
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.caption = document.createElement("div");
    this.caption.className = "convlab-field-caption";
    this.caption.setAttribute("aria-live", "polite");
    el.replaceChildren(this.canvas, this.caption);
    /** @type {Field | null} */
    this.field = null;
    this.at = [0, 0];
    this.canvas.addEventListener("pointerdown", (event) => this.pick(event, onPick));
    this.canvas.addEventListener("pointermove", (event) => event.buttons && this.pick(event, onPick));
    this.canvas.addEventListener("keydown", (event) => this.step(event, onPick));
  }

  /**
   * @param {PointerEvent} event
   * @param {(row: number, column: number) => void} onPick
   */
  pick(event, onPick) {
    if (!this.field) return;
    const frame = this.canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - frame.top) / frame.height) * this.field.height);
    const column = Math.floor(((event.clientX - frame.left) / frame.width) * this.field.width);
    this.go(row, column, onPick);
  }

  /**
   * @param {KeyboardEvent} event
   * @param {(row: number, column: number) => void} onPick
   */
  step(event, onPick) {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    this.go(this.at[0] + move[0], this.at[1] + move[1], onPick);
  }

  /**
   * @param {number} row
   * @param {number} column
   * @param {(row: number, column: number) => void} onPick
   */
  go(row, column, onPick) {
    if (!this.field) return;
    const inside = [Math.min(Math.max(row, 0), this.field.height - 1), Math.min(Math.max(column, 0), this.field.width - 1)];
    if (inside[0] === this.at[0] && inside[1] === this.at[1]) return;
    this.at = inside;
    onPick(inside[0], inside[1]);
  }

  /** @param {Field} field */
  draw(field) {
    this.field = field;
    const { height, width, box } = field;
    this.caption.textContent = field.caption;
    this.canvas.setAttribute("aria-label", `${field.caption} Arrow keys move to another unit.`);
    if (!height || !width || field.picture.length < height * width * 3) return;
    if (box.length) this.at = [(box[0] + box[1]) >> 1, (box[2] + box[3]) >> 1];
    const scale = Math.max(1, Math.floor((SIDE * devicePixelRatio) / Math.max(height, width)));
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    this.canvas.style.width = `${(width * scale) / devicePixelRatio}px`;
    const context = this.canvas.getContext("2d");
    if (!context) return;
    context.imageSmoothingEnabled = false;
    context.drawImage(pixels(field), 0, 0, this.canvas.width, this.canvas.height);
    if (box.length) frame(context, box, scale);
  }
}

/**
 * The picture, tinted where the effective field is strong.
 * @param {Field} field
 */
function pixels({ height, width, picture, effective }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(width, height);
  const glows = effective.length === height * width;
  for (let pixel = 0; pixel < height * width; pixel++) {
    const glow = glows ? effective[pixel] / 255 : 0;
    [213, 94, 0].forEach((tint, channel) => {
      image.data[4 * pixel + channel] = picture[3 * pixel + channel] * (1 - 0.85 * glow) + tint * 0.85 * glow;
    });
    image.data[4 * pixel + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * A blue frame with a white seam, to be seen on any picture; the rest is dimmed.
 * @param {CanvasRenderingContext2D} context
 * @param {number[]} box  first row, last row, first column, last column
 * @param {number} scale
 */
function frame(context, box, scale) {
  const [top, bottom, left, right] = [box[0] * scale, (box[1] + 1) * scale, box[2] * scale, (box[3] + 1) * scale];
  const { width, height } = context.canvas;
  context.fillStyle = "rgba(0, 0, 0, 0.45)";
  context.fillRect(0, 0, width, top);
  context.fillRect(0, bottom, width, height - bottom);
  context.fillRect(0, top, left, bottom - top);
  context.fillRect(right, top, width - right, bottom - top);
  for (const [color, line] of /** @type {[string, number][]} */ ([["#fff", 5], ["#0072b2", 3]])) {
    context.strokeStyle = color;
    context.lineWidth = line * devicePixelRatio;
    const inset = context.lineWidth / 2;
    context.strokeRect(left + inset, top + inset, right - left - 2 * inset, bottom - top - 2 * inset);
  }
}
