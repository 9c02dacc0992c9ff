/** One line of text that says why something stopped, or what a word means; otherwise a hint. */
import { el } from "./dom.js";

const HINT = "Point at any cell. Drag the kernel, press Play, or use the arrow keys.";

export class Message {
  constructor() {
    this.element = el("div", { class: "cx-message", role: "status", "aria-live": "polite" });
    this.clear();
  }

  /** @param {string} text @param {?{text: string, act: () => void}} remedy */
  stop(text, remedy = null) {
    this.show("stop", text);
    if (!remedy) return;
    const act = () => {
      this.clear();
      remedy.act();
    };
    this.element.append(el("button", { type: "button", class: "cx-button", onclick: act }, remedy.text));
  }

  /** @param {string} text */
  tell(text) {
    this.show("tell", text);
  }

  clear() {
    this.show("", HINT);
  }

  show(kind, text) {
    this.element.className = `cx-message ${kind}`;
    this.element.replaceChildren(el("span", {}, text));
  }
}
