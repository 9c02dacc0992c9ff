// A kernel that is busy with another cell, or in the middle of a long step, answers a click when it is done. Until then
// the panel says that the click has arrived.
const PATIENCE = 1500;
const SENTENCE = "Waiting for the kernel: another cell, or a long step, is still at work.";

/**
 * @param {Element} panel
 * @returns {() => void} stops it
 */
export function tellWaiting(panel) {
  const note = document.createElement("div");
  note.className = "convlab-note convlab-waiting";
  note.setAttribute("role", "status");
  let timer = 0;
  let seen = () => true;
  const state = () => panel.querySelector(".convlab-line")?.textContent ?? "";
  const end = () => {
    clearTimeout(timer);
    note.remove();
  };
  const observer = new MutationObserver(() => {
    if (seen()) end();
  });
  const onClick = (/** @type {Event} */ event) => {
    const button = /** @type {Element} */ (event.target).closest(".convlab-buttons button");
    const line = panel.querySelector(".convlab-line");
    if (!button || !line) return;
    end();
    const before = state();
    const [word] = before.split(" ");
    // While steps go by the line changes by itself: only its first word answers then.
    seen = () => (word === "running" ? state().split(" ")[0] !== word : state() !== before);
    observer.observe(line, { subtree: true, childList: true, characterData: true });
    timer = setTimeout(() => {
      if (seen()) return;
      note.textContent = SENTENCE;
      panel.querySelector(".convlab-messages")?.append(note);
    }, PATIENCE);
  };
  panel.addEventListener("click", onClick);
  return () => {
    panel.removeEventListener("click", onClick);
    observer.disconnect();
    end();
  };
}
