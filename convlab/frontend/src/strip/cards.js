import { element } from "../chart/element.js";

/** @typedef {{path: string, kind: string, facts: string[], before: string[], problem: string, editable: boolean}} Card */

/** The layers in a row. Arrow keys go from one to the next; Enter or a click selects. */
export class Cards {
  /** @param {(path: string) => void} select */
  constructor(select) {
    this.select = select;
    this.root = element("div", { class: "convlab-strip-cards", role: "listbox", "aria-label": "Layers" });
    this.root.addEventListener("keydown", (event) => this.#onKey(event));
    /** @type {string} */
    this.drawn = "";
    /** @type {string[]} What each card was filled with: a drag changes few of many. */
    this.filled = [];
  }

  /**
   * @param {Card[]} cards
   * @param {string} selected
   */
  show(cards, selected) {
    const paths = JSON.stringify(cards.map((card) => [card.path, card.editable]));
    if (paths !== this.drawn) {
      this.drawn = paths;
      this.filled = [];
      this.root.replaceChildren(...cards.map((card) => this.#button(card)));
    }
    cards.forEach((card, i) => {
      const content = JSON.stringify([card, card.path === selected]);
      if (content === this.filled[i]) return;
      this.filled[i] = content;
      fill(/** @type {HTMLButtonElement} */ (this.root.children[i]), card, selected);
    });
  }

  /** @param {Card} card */
  #button(card) {
    const button = element("button", { type: "button", role: "option" });
    button.disabled = !card.editable;
    button.addEventListener("click", () => this.select(card.path));
    return button;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...this.root.children].filter((button) => !(/** @type {HTMLButtonElement} */ (button).disabled));
    const next = all[all.indexOf(/** @type {Element} */ (document.activeElement)) + step];
    /** @type {HTMLElement | undefined} */ (next)?.focus();
  }
}

/**
 * @param {HTMLButtonElement} button
 * @param {Card} card
 * @param {string} selected
 */
function fill(button, card, selected) {
  button.setAttribute("aria-selected", String(card.path === selected && card.path !== ""));
  button.classList.toggle("is-problem", card.problem !== "");
  const changed = card.facts.map((fact, i) => Boolean(card.before[i]) && card.before[i] !== fact);
  const old = card.before.filter((_, i) => changed[i]);
  const was = old.map((fact) => fact.replace(" parameters", "")).join(", ");
  button.title = [card.problem || `${card.path}: ${card.kind}`, old.length && `was ${old.join(", ")}`].filter(Boolean).join("; ");
  const lines = card.facts.map((fact, i) => element("span", { class: changed[i] ? "is-changed" : "is-fact" }, fact));
  // Its line is there without a change too: nothing moves below a hand that drags.
  const last = card.problem ? element("span", { class: "is-why" }, "does not fit") : element("s", {}, was);
  button.replaceChildren(
    element("strong", {}, card.path || "model"),
    element("span", { class: "is-kind" }, card.kind),
    ...lines,
    last,
  );
}
