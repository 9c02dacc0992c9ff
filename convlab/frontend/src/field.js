// A picture with the receptive field of one unit on it, and the grid of the layer's units beside it.
import { FieldView } from "./field/view.js";
import { keepKeys } from "./shared/keys.js";

const NUMBERS = ["size", "box", "local", "units", "unit", "theory", "effect", "title"];
const BYTES = ["picture", "effective", "features"];

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    const stop = keepKeys(el);
    const view = new FieldView(el, (move, to) => model.send({ move, to }));
    let waiting = 0;
    const draw = () => {
      waiting = 0;
      view.draw(read(model));
    };
    const redraw = () => {
      waiting ||= requestAnimationFrame(draw);
    };
    for (const name of [...NUMBERS, ...BYTES]) model.on(`change:${name}`, redraw);
    // Zooming the page changes how many of the screen's dots a pixel of the picture takes.
    window.addEventListener("resize", redraw);
    draw();
    return () => {
      stop();
      cancelAnimationFrame(waiting);
      window.removeEventListener("resize", redraw);
      for (const name of [...NUMBERS, ...BYTES]) model.off(`change:${name}`, redraw);
    };
  },
};

/** @param {any} model */
function read(model) {
  const numbers = NUMBERS.map((name) => [name, model.get(name)]);
  return Object.fromEntries([...numbers, ...BYTES.map((name) => [name, bytes(model.get(name))])]);
}

/** @param {DataView | null} view */
const bytes = (view) => (view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array());
