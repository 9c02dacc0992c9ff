// The summary of a model as a foldable table. Rows are facts made in Python; here they are only drawn.
import { SummaryTable } from "./summary/table.js";

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    const table = new SummaryTable(el, (path) => {
      model.set("selected", path);
      model.save_changes();
    });
    const draw = () => table.draw(model.get("rows"), model.get("totals"), model.get("error"), model.get("selected"));
    model.on("change:selected", () => table.select(model.get("selected")));
    const redraw = () => requestAnimationFrame(draw);
    for (const name of ["rows", "totals", "error"]) model.on(`change:${name}`, redraw);
    draw();
  },
};
