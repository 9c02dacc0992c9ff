// A network as a strip of layers, and the controls of the selected one. What can be is decided in Python; here it is
// drawn. A slider's positions are the possible values and nothing else, so an impossible one cannot be reached.
import { keepKeys } from "./shared/keys.js";
import { soon } from "./shared/soon.js";
import { Cards } from "./strip/cards.js";
import { Controls } from "./strip/controls.js";

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    el.classList.add("convlab", "convlab-strip");
    const cards = new Cards((path) => {
      model.set("selected", path);
      model.save_changes();
    });
    const controls = new Controls((type, { path, name }, value) => model.send({ type, path, name, value }));
    el.append(cards.root, controls.root);
    const draw = () => {
      cards.show(JSON.parse(model.get("cards")), model.get("selected"));
      controls.show(model.get("selected"), JSON.parse(model.get("controls")));
    };
    const drawing = soon(draw);
    const stop = keepKeys(el);
    model.on("change:cards change:controls change:selected", drawing.ask);
    draw();
    return () => {
      stop();
      drawing.cancel();
      model.off("change:cards change:controls change:selected", drawing.ask);
    };
  },
};
