// ipywidgets' sliders have a handle without a name, whose value a screen reader hears as a position, such as "23.00".

/**
 * Gives the controls below `panel` the names, values and tooltips that are written beside them, and keeps them so.
 * @param {Element} panel
 * @returns {() => void} stops it
 */
export function nameControls(panel) {
  const own = new MutationObserver(() => all());
  const all = () => {
    for (const control of panel.querySelectorAll(".widget-inline-hbox")) {
      own.observe(control, { subtree: true, childList: true, attributeFilter: ["title", "aria-valuetext", "disabled"] });
      name(control);
    }
    for (const head of panel.querySelectorAll(".jupyter-widget-Collapse-header")) {
      if (head.parentElement) own.observe(head.parentElement, { attributeFilter: ["class"] });
      unfold(head);
    }
    // The text beside them says it: a bar has no name, and an icon's would be its glyph.
    for (const mute of panel.querySelectorAll(".progress, .fa")) set(mute, "aria-hidden", "true");
  };
  // Controls that are put in later: only whole elements matter, not the text of a readout.
  const arrivals = new MutationObserver((records) => {
    const added = records.flatMap((record) => [...record.addedNodes]);
    if (added.some((node) => node instanceof Element && node.matches(".lm-Widget, .fa"))) all();
  });
  arrivals.observe(panel, { subtree: true, childList: true });
  all();
  return () => {
    own.disconnect();
    arrivals.disconnect();
  };
}

/** @param {Element} control */
function name(control) {
  const label = control.querySelector(".widget-label");
  if (!label?.textContent) return;
  if (label.hasAttribute("title")) set(control, "title", label.getAttribute("title") ?? "");
  for (const handle of control.querySelectorAll(".noUi-handle")) {
    set(handle, "aria-label", label.textContent ?? "");
    set(handle, "aria-valuetext", control.querySelector(".widget-readout")?.textContent ?? "");
    set(handle, "aria-disabled", String(handle.closest("[disabled]") !== null));
  }
}

/**
 * ipywidgets' accordion opens to the mouse alone.
 * @param {Element} head
 */
function unfold(head) {
  if (!(head instanceof HTMLElement)) return;
  set(head, "aria-expanded", String(head.parentElement?.classList.contains("jupyter-widget-Collapse-open")));
  if (head.getAttribute("role") === "button") return;
  head.setAttribute("role", "button");
  head.setAttribute("tabindex", "0");
  head.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    head.click();
  });
}

/**
 * Writes only what differs, because each writing is observed.
 * @param {Element} element
 * @param {string} attribute
 * @param {string} value
 */
function set(element, attribute, value) {
  if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}
