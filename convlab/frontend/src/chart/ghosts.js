import { element } from "./element.js";

/**
 * The names of the earlier runs, in the corner of the plot; pointing at one, or pressing it, brings its lines out.
 * @param {(index: number | null) => void} onHighlight
 */
export function makeGhostNames(onHighlight) {
  const root = element("div", { class: "convlab-chart-ghosts", role: "group", "aria-label": "Earlier runs" });
  /** @type {number | null} */
  let pinned = null;
  let shown = "";

  return {
    root,
    /** @param {import("./store.js").Ghost[]} ghosts */
    show(ghosts) {
      const names = ghosts.map((ghost) => ghost.name);
      if (shown === JSON.stringify(names)) return;
      shown = JSON.stringify(names);
      pinned = null;
      onHighlight(null);
      root.replaceChildren(...names.map(button));
    },
  };

  /**
   * @param {string} name
   * @param {number} i
   */
  function button(name, i) {
    const made = element("button", { type: "button", title: `Bring out: ${name}`, "aria-pressed": "false" }, name);
    for (const event of ["pointerenter", "focus"]) made.addEventListener(event, () => onHighlight(i));
    for (const event of ["pointerleave", "blur"]) made.addEventListener(event, () => onHighlight(pinned));
    made.addEventListener("click", () => {
      pinned = pinned === i ? null : i;
      [...root.children].forEach((child, j) => child.setAttribute("aria-pressed", String(pinned === j)));
      onHighlight(pinned);
    });
    return made;
  }
}
