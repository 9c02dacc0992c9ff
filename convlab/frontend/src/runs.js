// A table of runs: sorted and marked here, everything in it made in Python.
import { keepKeys } from "./shared/keys.js";
import { soon } from "./shared/soon.js";
import { RunsTable } from "./runs/table.js";

const DRAWN = "change:columns change:rows change:selected";

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    el.classList.add("convlab", "convlab-runs");
    const stop = keepKeys(el);
    const table = new RunsTable((type, run, value) => model.send({ type, run, value }));
    el.append(table.root);
    const draw = () =>
      table.show(JSON.parse(model.get("columns")), JSON.parse(model.get("rows")), model.get("selected"));
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
