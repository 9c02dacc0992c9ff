// A picture with the receptive field of one unit on it.
import { FieldView } from "./field/view.js";

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    const view = new FieldView(el, (row, column) => {
      model.set("pixel", [row, column]);
      model.save_changes();
    });
    let waiting = false;
    const draw = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        view.draw(read(model));
      });
    };
    for (const name of ["picture", "box", "effective", "caption"]) model.on(`change:${name}`, draw);
    view.draw(read(model));
  },
};

/** @param {any} model */
function read(model) {
  const [height, width] = model.get("size");
  return {
    height,
    width,
    picture: bytes(model.get("picture")),
    box: model.get("box"),
    effective: bytes(model.get("effective")),
    caption: model.get("caption"),
  };
}

/** @param {DataView | null} view */
const bytes = (view) => (view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array());
