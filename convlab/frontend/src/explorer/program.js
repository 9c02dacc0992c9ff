/**
 * The layer's source code, a tab a form.
 * @typedef {import("./geometry.js").Settings} Settings
 */
import { code, FORMS } from "./code.js";
import { el, uniqueId } from "./dom.js";

const TITLES = { nn: "nn", functional: "functional", unfold: "unfold", keras: "Keras" };

export class Program {
  constructor() {
    this.form = "nn";
    const id = uniqueId("code");
    this.text = el("code");
    this.tabs = FORMS.map((form) => {
      const attributes = { type: "button", role: "tab", "aria-controls": id, "data-form": form };
      return el("button", { ...attributes, onclick: () => this.choose(form), onkeydown: (event) => this.key(event) }, TITLES[form]);
    });
    this.copied = el("button", { type: "button", class: "cx-copy", onclick: () => this.copy() }, "Copy");
    this.element = el(
      "section",
      { class: "cx-program", "aria-label": "Code" },
      el("div", { class: "cx-tabs" }, el("div", { role: "tablist", "aria-label": "Form of the code" }, ...this.tabs), this.copied),
      el("pre", { id, role: "tabpanel", tabindex: "0" }, this.text),
    );
  }

  /** @param {Settings} s */
  show(s) {
    this.s = s;
    this.text.textContent = code(this.form, s);
    for (const tab of this.tabs) {
      const selected = tab.dataset.form === this.form;
      tab.setAttribute("aria-selected", selected);
      tab.tabIndex = selected ? 0 : -1;
      if (tab.dataset.form === "unfold") tab.textContent = s.transposed ? "fold" : "unfold";
    }
    this.copied.textContent = "Copy";
  }

  choose(form) {
    this.form = form;
    this.show(this.s);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    this.choose(FORMS[(FORMS.indexOf(this.form) + way + FORMS.length) % FORMS.length]);
    this.tabs[FORMS.indexOf(this.form)].focus();
    event.preventDefault();
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.text.textContent);
      this.copied.textContent = "Copied";
    } catch {
      // A page from a file may not write to the clipboard: select the text, so that Ctrl+C does it.
      getSelection().selectAllChildren(this.text);
      this.copied.textContent = "Press Ctrl+C";
    }
  }
}
