/**
 * The whole explorer: settings come from a model (Jupyter's, or the page's own), and go back to it.
 * @typedef {import("./geometry.js").Settings} Settings
 * @typedef {import("./picture.js").Focus} Focus
 * @typedef {{get: (name: string) => any, set: (name: string, value: any) => void, save_changes: () => void,
 *   on: (event: string, callback: () => void) => void, off: (event: string, callback: () => void) => void}} Model
 */
import { Controls } from "./controls.js";
import { el } from "./dom.js";
import { Facts } from "./facts.js";
import { fit } from "./fit.js";
import { outputSize } from "./geometry.js";
import { limit, nearestPadding, possible, problem } from "./limits.js";
import { Message } from "./message.js";
import { channelsSeen } from "./numbers.js";
import { Picture } from "./picture.js";
import { Player } from "./player.js";
import { Program } from "./program.js";
import { Readout, readout } from "./readout.js";
import { Same } from "./same.js";
import { ChannelTabs } from "./channel_tabs.js";
import { MEANINGS } from "./words.js";

export const SETTINGS = [
  "dims",
  "input_size",
  "kernel_size",
  "stride",
  "padding",
  "dilation",
  "groups",
  "in_channels",
  "out_channels",
  "transposed",
];

export class Explorer {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    /** @type {?Focus} */
    this.pointed = null;
    this.channels = { into: 0, out: 0 };
    this.message = new Message();
    this.controls = new Controls(
      (name, value) => this.request(name, value),
      (name) => this.message.tell(`${name}: ${MEANINGS[name]}`),
    );
    this.player = new Player(() => this.light());
    this.tabs = new ChannelTabs((name, channel) => this.choose(name, channel));
    this.picture = new Picture({
      point: (focus) => this.point(focus),
      move: (position) => {
        this.player.pause();
        this.player.move(position);
      },
    });
    this.readout = new Readout();
    this.views = [this.controls, new Facts(), new Program(), new Same()];
    const [, facts, program, same] = this.views;
    const stage = el(
      "div",
      {
        class: "cx-stage",
        tabindex: "0",
        role: "group",
        "aria-label": "The picture. Arrow keys move the kernel, the space bar plays.",
        onkeydown: (event) => this.player.key(event),
      },
      this.picture.element,
    );
    this.element = el(
      "div",
      // JupyterLab's own shortcuts would take the arrow keys away from controls and picture.
      { class: "convlab cx", "data-lm-suppress-shortcuts": "true" },
      this.controls.element,
      this.message.element,
      el("div", { class: "cx-bar" }, this.player.element, this.tabs.element),
      stage,
      this.readout.element,
      el("div", { class: "cx-below" }, facts.element, program.element),
      same.element,
    );
    this.follow = () => this.refresh();
    for (const name of SETTINGS) model.on(`change:${name}`, this.follow);
    this.refresh();
  }

  /** Stop, and let go of the model. */
  remove() {
    this.player.pause();
    for (const name of SETTINGS) this.model.off(`change:${name}`, this.follow);
  }

  /** Show the model's settings. */
  refresh() {
    const next = Object.fromEntries(SETTINGS.map((name) => [name, this.model.get(name)]));
    // Python's changes arrive one by one: between two of them they need not go together.
    if (this.applying || !possible(next)) return;
    const s = (this.s = next);
    this.pointed = null;
    this.channels.out = Math.min(this.channels.out, s.out_channels - 1);
    this.seeEachOther("out");
    this.player.fit(s.dims, s.transposed ? s.input_size : outputSize(s));
    for (const view of this.views) view.show(s);
    this.redraw();
  }

  redraw() {
    this.tabs.show(this.s, this.channels);
    this.picture.draw(this.s, this.channels);
    this.light();
  }

  light() {
    const resting = { kind: this.s.transposed ? "input" : "output", at: this.player.position };
    const focus = this.pointed ?? resting;
    this.picture.light(focus, !this.pointed);
    this.readout.show(readout(this.s, focus, this.channels));
  }

  /** @param {?Focus} focus */
  point(focus) {
    const name = (one) => one && `${one.kind}${one.at}`;
    if (name(focus) === name(this.pointed)) return;
    this.pointed = focus;
    this.light();
  }

  /** Show another channel. @param {"into"|"out"} name @param {number} channel */
  choose(name, channel) {
    this.channels[name] = channel;
    this.seeEachOther(name);
    this.redraw();
  }

  /** With groups not every output channel sees every input channel: of the two on show, the other one follows. */
  seeEachOther(chosen) {
    const { s, channels } = this;
    if (channelsSeen(s, channels.out).includes(channels.into)) return;
    if (chosen === "out") channels.into = channelsSeen(s, channels.out)[0];
    else channels.out = [...Array(s.out_channels).keys()].find((out) => channelsSeen(s, out).includes(channels.into));
  }

  /** A person asks for a value: take it, or what comes nearest, and say why. */
  request(name, value) {
    const { s } = this;
    this.message.clear();
    if (name === "dims" || name === "transposed") {
      const { settings, moved } = fit({ ...s, [name]: value });
      this.apply(settings);
      const changes = moved.map((move) => `${move.name} ${move.from} \u2192 ${move.to}`);
      if (changes.length) this.message.stop(`To make that possible: ${changes.join(", ")}.`);
      return;
    }
    if (name === "padding" && value === "number") {
      const { low, high } = limit(s, "padding");
      const number = s.padding === "same" ? nearestPadding(s) : 0;
      this.request("padding", Math.max(low, Math.min(number, high)));
      return;
    }
    const found = problem(s, name, value);
    if (!found) {
      this.apply({ ...s, [name]: value });
      return;
    }
    const moves = typeof value === "number" && typeof found.works === "number";
    this.apply(moves ? { ...s, [name]: found.works } : s);
    const stays = moves ? `${name} stops at ${found.works}` : `${name}="${value}" is not possible here`;
    this.message.stop(`${stays}: ${found.reason}.`, this.remedy(name, value, found));
  }

  /** Where a stop has a way round it: what it is called, and the step. */
  remedy(name, value, found) {
    const { s } = this;
    let wanted = null;
    if (name === "stride" && s.padding === "same") {
      wanted = { ...s, stride: value, padding: nearestPadding({ ...s, stride: value }) };
    } else if (name === "padding" && typeof value === "string") {
      wanted = { ...s, padding: found.works };
    }
    if (!wanted || !possible(wanted)) return null;
    const padding = typeof wanted.padding === "string" ? `"${wanted.padding}"` : wanted.padding;
    const text = name === "stride" ? `Use stride=${value} with padding=${padding}` : `Use padding=${padding}`;
    return { text, act: () => this.apply(wanted) };
  }

  /** @param {Settings} settings */
  apply(settings) {
    this.applying = true;
    for (const name of SETTINGS) if (settings[name] !== this.s[name]) this.model.set(name, settings[name]);
    this.applying = false;
    this.model.save_changes();
    this.refresh();
  }
}
