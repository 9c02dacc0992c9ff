import { element } from "./element.js";

/**
 * The names of the runs, the present one's first, in the corner of the plot; pointing at one, or pressing it, brings its lines out.
 * @param {(index: number | null) => void} onHighlight
 */
export function makeGhostNames(onHighlight) {
  const root = element("div", { class: "convlab-chart-ghosts", role: "group", "aria-label": "Runs" });
  /** @type {number | null} */
  let pinned = null;
  let shown = "";
  /** @type {HTMLElement[]} */
  let buttons = [];

  return {
    root,
    /**
     * @param {import("./store.js").Ghost[]} ghosts
     * @param {string} title
     */
    show(ghosts, title) {
      const names = ghosts.map((ghost) => ghost.name);
      if (shown === JSON.stringify([names, title])) return;
      shown = JSON.stringify([names, title]);
      pinned = null;
      onHighlight(null);
      buttons = names.map(button);
      const current = title && names.length ? [element("span", { title: `In colour: ${title}` }, title)] : [];
      root.replaceChildren(...current, ...buttons);
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
      buttons.forEach((child, j) => child.setAttribute("aria-pressed", String(pinned === j)));
      onHighlight(pinned);
    });
    return made;
  }
}
