// Curves over a number axis: to look at, to pick from, to draw on. See convlab/frontend/curves.py for the other end.
import { View } from "./curves/view.js";
import { unpack } from "./curves/message.js";

export default () => {
  /** @type {{lines: import("./curves/message.js").Line[], marks: {x: number, text: string}[]}} */
  const shown = { lines: [], marks: [] };
  /** @type {Set<() => void>} */
  const listeners = new Set();
  return {
    /** @param {{model: any}} context */
    initialize({ model }) {
      const receive = (/** @type {any} */ message, /** @type {any[]} */ buffers) => {
        if (message.type !== "show") return;
        shown.lines = unpack(message.header, buffers[0]);
        shown.marks = message.marks;
        for (const listener of listeners) listener();
      };
      model.on("msg:custom", receive);
      try {
        model.send({ type: "hello" });
      } catch (error) {
        // A notebook that was reopened without a kernel: there is nobody to answer.
        console.warn("convlab: the curves found no kernel", error);
      }
      return () => model.off("msg:custom", receive);
    },
    /** @param {{model: any, el: HTMLElement}} context */
    render({ model, el }) {
      const view = new View(model, el, shown);
      const draw = () => view.schedule();
      listeners.add(draw);
      return () => {
        listeners.delete(draw);
        view.destroy();
      };
    },
  };
};
