// A table of runs: sorted and marked here, everything in it made in Python.
import { live } from "./shared/live.js";
import { RunsTable } from "./runs/table.js";

const DRAWN = "change:columns change:rows change:selected";

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    el.classList.add("convlab", "convlab-runs");
    const table = new RunsTable((type, run, value) => model.send({ type, run, value }));
    return live({ model, el }, table.root, DRAWN, () =>
      table.show(JSON.parse(model.get("columns")), JSON.parse(model.get("rows")), model.get("selected")),
    );
  },
};
