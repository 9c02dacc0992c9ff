/**
 * The colours and fonts in force at an element. A canvas knows no CSS variables, so they are read off.
 * @param {HTMLElement} element below .convlab
 */
export function readTheme(element) {
  const style = getComputedStyle(element);
  // uPlot scales a font's size by itself and reads whole pixels only.
  const fontSize = Math.round(Number.parseFloat(style.fontSize));
  const read = (/** @type {string} */ name) => style.getPropertyValue(`--convlab-${name}`).trim();
  return {
    text: read("text"),
    faint: read("text-faint"),
    background: read("background"),
    grid: read("border-faint"),
    blue: read("blue"),
    orange: read("orange"),
    ghost: read("ghost"),
    font: `${fontSize}px ${style.fontFamily}`,
    fontSize,
  };
}

/** @typedef {ReturnType<typeof readTheme>} Theme */

/**
 * Calls back when JupyterLab's theme has changed.
 * @param {() => void} callback
 * @returns {() => void} stops it
 */
export function onThemeChange(callback) {
  const observer = new MutationObserver(callback);
  observer.observe(document.body, {
    attributes: true,
    attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"],
  });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", callback);
  return () => {
    observer.disconnect();
    scheme.removeEventListener("change", callback);
  };
}
