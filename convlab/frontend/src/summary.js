// The summary of a model as a foldable table. Rows are facts made in Python; here they are only drawn.
import { keepKeys } from "./shared/keys.js";
import { soon } from "./shared/soon.js";
import { SummaryTable } from "./summary/table.js";

const DRAWN = ["facts", "error", "columns"];

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    const stop = keepKeys(el);
    const table = new SummaryTable(el, {
      pick: (path) => model.send({ pick: path }),
      choose: (columns) => {
        model.set("columns", columns);
        model.save_changes();
      },
    });
    const draw = () => {
      table.draw(JSON.parse(model.get("facts")), model.get("error"), model.get("columns"));
      table.select(model.get("selected"));
    };
    const drawing = soon(draw);
    const select = () => table.select(model.get("selected"));
    for (const name of DRAWN) model.on(`change:${name}`, drawing.ask);
    model.on("change:selected", select);
    draw();
    drawing.inNextFrame(); // once it stands in the page, and has a font to be measured by
    return () => {
      stop();
      drawing.cancel();
      for (const name of DRAWN) model.off(`change:${name}`, drawing.ask);
      model.off("change:selected", select);
    };
  },
};
