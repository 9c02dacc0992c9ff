/**
 * Lets controls below `root` have their keys. In command mode JupyterLab takes arrows, Enter and letters for itself,
 * wherever the focus is, unless the element in focus itself bears this attribute.
 * @param {HTMLElement | Document} root
 * @param {string} [within] a selector; only controls inside such an element
 * @returns {() => void} stops it
 */
export function keepKeys(root, within) {
  const mark = (/** @type {Event} */ event) => {
    const target = /** @type {Element} */ (event.target);
    if (!within || target.closest(within)) target.setAttribute("data-lm-suppress-shortcuts", "true");
  };
  root.addEventListener("focusin", mark);
  return () => root.removeEventListener("focusin", mark);
}
