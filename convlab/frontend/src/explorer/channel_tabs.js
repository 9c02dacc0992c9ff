/**
 * Which channel of the input and of the output is on show.
 * @typedef {import("./geometry.js").Settings} Settings
 */
import { el } from "./dom.js";
import { channelsSeen } from "./numbers.js";

export class ChannelTabs {
  /** @param {(name: "into"|"out", channel: number) => void} choose */
  constructor(choose) {
    this.choose = choose;
    this.element = el("div", { class: "cx-channels" });
  }

  /** @param {Settings} s @param {{into: number, out: number}} channels */
  show(s, channels) {
    const focused = this.element.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
    const seen = channelsSeen(s, channels.out);
    this.element.replaceChildren(
      this.group("into", "input channel", s.in_channels, channels.into, (channel) => seen.includes(channel)),
      this.group("out", "output channel", s.out_channels, channels.out, () => true),
    );
    if (focused) this.element.querySelector(`[aria-label="${focused}"]`)?.focus();
  }

  group(name, label, count, shown, seen) {
    const buttons = Array.from({ length: count }, (_, channel) => {
      const hint = seen(channel) ? "" : " (another group: the output channel on show does not see it)";
      const attributes = { type: "button", "aria-pressed": String(channel === shown), "aria-label": `${label} ${channel}` };
      const look = { class: `cx-channel${seen(channel) ? "" : " apart"}`, title: `${label} ${channel}${hint}` };
      return el("button", { ...attributes, ...look, onclick: () => this.choose(name, channel) }, String(channel));
    });
    return el("div", { class: "cx-channel-group", role: "group", "aria-label": label }, el("span", {}, label), ...buttons);
  }
}
