// After a restart of the kernel a panel is a picture of what was: nobody hears its buttons. ipywidgets marks the views
// of dead widgets with a class; this says it in words, and takes the controls out of reach.
const LOST = "jupyter-widgets-disconnected";
const SENTENCE = "This panel has lost its kernel, which was restarted or cannot be reached. Run the cell again to go on.";

/**
 * @param {Element} panel
 * @returns {() => void} stops it
 */
export function watchKernel(panel) {
  const notice = document.createElement("div");
  notice.className = "convlab-error convlab-detached";
  notice.setAttribute("role", "status");
  notice.hidden = true;
  panel.prepend(notice);
  const look = () => {
    const lost = panel.classList.contains(LOST);
    if (lost === !notice.hidden) return;
    notice.hidden = !lost;
    notice.textContent = lost ? SENTENCE : "";
    for (const part of panel.children) if (part !== notice) part.toggleAttribute("inert", lost);
  };
  const observer = new MutationObserver(look);
  observer.observe(panel, { attributes: true, attributeFilter: ["class"] });
  look();
  return () => {
    observer.disconnect();
    notice.remove();
  };
}
