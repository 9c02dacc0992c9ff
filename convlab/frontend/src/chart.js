// The live chart of loss and accuracy. Points come from the kernel as they are made; whoever joins late asks for
// everything by saying hello. See convlab/frontend/chart.py for the other end.
import { Store } from "./chart/store.js";
import { View } from "./chart/view.js";

export default () => {
  const store = new Store();
  return {
    /** @param {{model: any}} context */
    initialize({ model }) {
      const receive = (/** @type {any} */ message, /** @type {any[]} */ buffers) => store.receive(message, buffers);
      model.on("msg:custom", receive);
      try {
        model.send({ type: "hello" });
      } catch (error) {
        // A notebook that was reopened without a kernel: there is nobody to answer.
        console.warn("convlab: the chart found no kernel", error);
      }
      return () => model.off("msg:custom", receive);
    },
    /** @param {{model: any, el: HTMLElement}} context */
    render({ model, el }) {
      const view = new View(model, el, store);
      return () => view.destroy();
    },
  };
};
