// A confusion matrix: a grid of numbers, each a button to the hand and to the keyboard.
import { ConfusionView } from "./confusion/view.js";
import { live } from "./shared/live.js";

const DRAWN = "change:classes change:counts change:picked";

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    el.classList.add("convlab", "convlab-confusion");
    const view = new ConfusionView((row, column) => model.send({ type: "pick", row, column }));
    return live({ model, el }, view.root, DRAWN, () =>
      view.show(model.get("classes"), JSON.parse(model.get("counts")), model.get("picked")),
    );
  },
};
