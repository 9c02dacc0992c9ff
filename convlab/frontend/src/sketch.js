// A picture to draw on. The pen's way is sent pixel by pixel; what it makes of the picture is decided in Python, and shown
// here at once as dots of ink until the new picture comes.
import { enlarge, fit, frame, tinted } from "./field/paint.js";
import { keepKeys } from "./shared/keys.js";
import { soon } from "./shared/soon.js";
import { between, moved } from "./sketch/pen.js";

const SIDE = 264;

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    el.classList.add("convlab", "convlab-sketch");
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    el.append(canvas);
    /** @type {[number, number] | null} where the pen is */
    let last = null;
    /** @type {[number, number] | null} where the keys are */
    let key = null;
    const draw = () => {
      const [rows, columns] = model.get("size");
      const picture = bytes(model.get("picture"));
      if (!rows || picture.length !== rows * columns * 3) return;
      const scale = fit(canvas, rows, columns, SIDE);
      const context = enlarge(canvas, tinted({ size: [rows, columns], picture, effective: new Uint8Array() }));
      if (key) frame(context, [key[0], key[0], key[1], key[1]], scale, { width: 2 });
      canvas.setAttribute("aria-label", `${model.get("title")} Draw with the mouse, or with arrow keys and Space.`);
    };
    const drawing = soon(draw);
    const ink = (/** @type {[number, number][]} */ points) => {
      const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
      const scale = canvas.width / model.get("size")[1];
      context.fillStyle = `rgb(${model.get("ink").join(" ")})`;
      for (const [row, column] of points) context.fillRect(column * scale, row * scale, scale, scale);
      model.send({ type: "draw", points });
    };
    const at = (/** @type {PointerEvent} */ event) => {
      const [rows, columns] = model.get("size");
      const box = canvas.getBoundingClientRect();
      const row = ((event.clientY - box.top - canvas.clientTop) / canvas.clientHeight) * rows;
      const column = ((event.clientX - box.left - canvas.clientLeft) / canvas.clientWidth) * columns;
      return moved([Math.floor(row), Math.floor(column)], [0, 0], [rows, columns]);
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      key = null;
      last = at(event);
      ink([last]);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons || !last) return;
      const to = at(event);
      if (String(to) === String(last)) return;
      ink(between(last, to));
      last = to;
    });
    canvas.addEventListener("pointerup", () => (last = null));
    canvas.addEventListener("pointercancel", () => (last = null));
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], " ": [0, 0] };
      const move = /** @type {Record<string, [number, number]>} */ (moves)[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      const size = model.get("size");
      key = moved(key ?? [size[0] >> 1, size[1] >> 1], move, size);
      if (event.key === " ") ink([key]);
      else drawing.ask();
    });
    canvas.addEventListener("blur", () => {
      key = null;
      drawing.ask();
    });
    const stop = keepKeys(el);
    model.on("change:picture change:size change:title", drawing.ask);
    // Zooming the page changes how many of the screen's dots a pixel of the picture takes.
    window.addEventListener("resize", drawing.ask);
    draw();
    return () => {
      stop();
      drawing.cancel();
      window.removeEventListener("resize", drawing.ask);
      model.off("change:picture change:size change:title", drawing.ask);
    };
  },
};

/** @param {DataView | null} view */
const bytes = (view) => (view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array());
