/**
 * Where the kernel stands, and how it gets from place to place: step by step, by itself, by arrow keys.
 * @typedef {import("./numbers.js").Index} Index
 */
import { el } from "./dom.js";

/** Milliseconds a step. */
const PACES = { slow: 1500, medium: 700, fast: 250 };

export class Player {
  /** @param {(position: Index) => void} moved */
  constructor(moved) {
    this.moved = moved;
    this.timer = null;
    /** @type {Index} */
    this.position = [0, 0];
    this.steps = 1;
    const button = (text, label, action) => {
      return el("button", { type: "button", class: "cx-button", "aria-label": label, title: label, onclick: action }, text);
    };
    this.playButton = button("\u25b6 Play", "Play: let the kernel slide", () => this.toggle());
    this.playButton.classList.add("cx-play");
    this.pace = el(
      "select",
      { "aria-label": "Speed", onchange: () => this.timer && this.play() },
      ...Object.keys(PACES).map((name) => el("option", { value: name, selected: name === "medium" }, name)),
    );
    this.element = el(
      "div",
      { class: "cx-player", role: "group", "aria-label": "Move the kernel" },
      button("|\u25c0", "To the first position", () => this.go(0)),
      button("\u25c0 Step", "One step back", () => this.step(-1)),
      this.playButton,
      button("Step \u25b6", "One step on", () => this.step(1)),
      this.pace,
    );
  }

  /** Positions along each axis, and the number of axes. @param {number} dims @param {number} steps */
  fit(dims, steps) {
    this.steps = steps;
    const place = Array.from({ length: dims }, (_, axis) => this.position.at(axis - dims) ?? 0);
    this.position = place.map((at) => Math.min(at, steps - 1));
  }

  /** The position's number in reading order. */
  get order() {
    return this.position.reduce((sum, at) => sum * this.steps + at, 0);
  }

  get last() {
    return this.steps ** this.position.length - 1;
  }

  /** To position number `order`. @param {number} order */
  go(order) {
    const at = Math.min(Math.max(order, 0), this.last);
    const { length } = this.position;
    this.move(this.position.map((_, axis) => Math.floor(at / this.steps ** (length - 1 - axis)) % this.steps));
  }

  /** @param {Index} position */
  move(position) {
    this.position = position;
    this.moved(position);
  }

  /** @param {1|-1} way */
  step(way) {
    this.pause();
    this.go(this.order + way);
  }

  toggle() {
    if (this.timer) this.pause();
    else this.play();
  }

  play() {
    this.pause();
    if (this.order === this.last) this.go(0);
    this.timer = setInterval(() => {
      if (this.order >= this.last || !this.element.isConnected) this.pause();
      else this.go(this.order + 1);
    }, PACES[this.pace.value]);
    this.playButton.textContent = "\u23f8 Pause";
    this.playButton.setAttribute("aria-label", "Pause");
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.playButton.textContent = "\u25b6 Play";
    this.playButton.setAttribute("aria-label", "Play: let the kernel slide");
  }

  /** Arrow keys, Home, End and the space bar. @param {KeyboardEvent} event */
  key(event) {
    const plane = this.position.length === 2;
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ...(plane && { ArrowUp: [-1, 0], ArrowDown: [1, 0] }) };
    if (event.key in moves) {
      this.pause();
      const move = moves[event.key].slice(plane ? 0 : 1);
      this.move(this.position.map((at, axis) => Math.min(Math.max(at + move[axis], 0), this.steps - 1)));
    } else if (event.key === "Home" || event.key === "End") {
      this.pause();
      this.go(event.key === "Home" ? 0 : this.last);
    } else if (event.key === " ") {
      this.toggle();
    } else {
      return;
    }
    event.preventDefault();
  }
}
