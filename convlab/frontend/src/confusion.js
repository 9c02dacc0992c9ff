// A confusion matrix: a grid of numbers, each a button to the hand and to the keyboard.
import { ConfusionView } from "./confusion/view.js";
import { keepKeys } from "./shared/keys.js";
import { soon } from "./shared/soon.js";

const DRAWN = "change:classes change:counts change:picked";

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    el.classList.add("convlab", "convlab-confusion");
    const stop = keepKeys(el);
    const view = new ConfusionView((row, column) => model.send({ type: "pick", row, column }));
    el.append(view.root);
    const draw = () => view.show(model.get("classes"), JSON.parse(model.get("counts")), model.get("picked"));
    const drawing = soon(draw);
    model.on(DRAWN, drawing.ask);
    draw();
    return () => {
      stop();
      drawing.cancel();
      model.off(DRAWN, drawing.ask);
    };
  },
};
