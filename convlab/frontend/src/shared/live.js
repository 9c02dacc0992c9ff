import { keepKeys } from "./keys.js";
import { soon } from "./soon.js";

/**
 * Shows `root` in a widget's element, drawn at once, and anew in the next frame when one of `traits` has changed.
 * @param {{model: any, el: HTMLElement}} context
 * @param {HTMLElement} root
 * @param {string} traits as `model.on` takes them
 * @param {() => void} draw
 * @returns {() => void} what ends it
 */
export function live({ model, el }, root, traits, draw) {
  const stop = keepKeys(el);
  el.append(root);
  const drawing = soon(draw);
  model.on(traits, drawing.ask);
  draw();
  return () => {
    stop();
    drawing.cancel();
    model.off(traits, drawing.ask);
  };
}
