// A button that copies a text. Outside https and localhost a page has no navigator.clipboard, and a frame may be denied
// it: then the text is selected in a box of its own and copied the old way.

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyFromBox(text);
  }
}

/** @param {string} text */
function copyFromBox(text) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const box = document.createElement("textarea");
  box.value = text;
  box.readOnly = true;
  Object.assign(box.style, { position: "fixed", top: "0", opacity: "0" });
  document.body.append(box);
  box.select();
  try {
    return document.execCommand("copy");
  } finally {
    box.remove();
    focused?.focus();
  }
}

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    el.classList.add("convlab-copy");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "lm-Widget jupyter-widgets jupyter-button widget-button";
    const said = document.createElement("span");
    said.setAttribute("role", "status");
    el.append(button, said);
    const draw = () => {
      button.textContent = model.get("description");
      button.title = model.get("tooltip");
      button.disabled = !model.get("text");
    };
    button.addEventListener("click", async () => {
      const done = await copy(model.get("text"));
      said.textContent = done ? "Copied" : "The browser forbids it: mark the text and press Ctrl+C";
    });
    const forget = () => (said.textContent = "");
    model.on("change:text change:description change:tooltip", draw);
    model.on("change:text", forget);
    draw();
    return () => {
      model.off("change:text", forget);
      model.off("change:text change:description change:tooltip", draw);
    };
  },
};
