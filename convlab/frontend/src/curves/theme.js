import { readTheme as readBase } from "../chart/theme.js";

/** @param {HTMLElement} element below .convlab */
export function readTheme(element) {
  const style = getComputedStyle(element);
  const names = ["blue", "orange", "green", "purple", "yellow"];
  return { ...readBase(element), palette: names.map((name) => style.getPropertyValue(`--convlab-${name}`).trim()) };
}

/** @typedef {ReturnType<typeof readTheme>} Theme */
