// What all panels share comes in as a widget that shows nothing: see convlab/frontend/style.py.
import { watchKernel } from "./panels/detached.js";
import { nameControls } from "./panels/names.js";
import { tellWaiting } from "./panels/waiting.js";
import { keepKeys } from "./shared/keys.js";

export default {
  initialize: () => keepKeys(document, ".convlab"),
  /** @param {{el: HTMLElement}} context */
  render({ el }) {
    const ends = [];
    // The view is put into its panel some moments after it is made.
    const waiting = setInterval(() => {
      const panel = el.closest(".convlab");
      if (!panel) return;
      clearInterval(waiting);
      ends.push(nameControls(panel));
      // A panel within a panel is told by the outer one.
      if (!panel.parentElement?.closest(".convlab")) ends.push(watchKernel(panel), tellWaiting(panel));
    }, 50);
    return () => {
      clearInterval(waiting);
      for (const end of ends) end();
    };
  },
};
