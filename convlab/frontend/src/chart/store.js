import { unpack } from "./message.js";
import { SERIES } from "./series.js";
import { Track } from "./track.js";

/** Buckets of one line of an earlier run: it is faint, and there may be many. */
const GHOST_LIMIT = 512;

/**
 * @typedef {Map<string, Track>} Tracks
 * @typedef {{name: string, tracks: Tracks}} Ghost
 */

/** What the kernel has told so far; one for all views of a chart in a page. */
export class Store {
  constructor() {
    /** @type {Tracks} */
    this.tracks = new Map();
    /** @type {Ghost[]} */
    this.ghosts = [];
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /**
   * @param {{type: string, header: any}} message
   * @param {(DataView | ArrayBuffer)[]} buffers
   */
  receive(message, buffers) {
    if (message.type === "replace") this.tracks = new Map();
    if (message.type === "replace" || message.type === "extend") {
      fill(this.tracks, unpack(message.header, buffers[0]));
    } else if (message.type === "ghosts") {
      this.ghosts = message.header.map((/** @type {any} */ ghost, /** @type {number} */ i) => ({
        name: String(ghost.name),
        tracks: fill(new Map(), unpack(ghost.header, buffers[i]), GHOST_LIMIT),
      }));
    } else {
      return;
    }
    for (const listener of this.listeners) listener();
  }

  /**
   * The epoch that a step belongs to, counted from 1: epochs are told at their last step.
   * @param {number} step
   */
  epochAt(step) {
    const ends = this.tracks.get("epoch");
    return ends?.length ? (ends.next(step) ?? ends.last.high + 1) : 1;
  }

  /**
   * What is known of a series at a step.
   * @param {string} name
   * @param {number} step
   * @returns {number | null}
   */
  valueAt(name, step) {
    return name === "epoch" ? this.epochAt(step) : (this.tracks.get(name)?.at(step) ?? null);
  }

  /** The last step of any series of this run; null before the first. */
  get lastStep() {
    const done = [...this.tracks].filter(([name, track]) => name !== "planned_lr" && track.length);
    return done.length ? Math.max(...done.map(([, track]) => track.last.maxStep)) : null;
  }

  /** The last step that the lr is planned for; 0 without a plan. */
  get lastPlanned() {
    const plan = this.tracks.get("planned_lr");
    return plan?.length ? plan.last.maxStep : 0;
  }
}

/**
 * @param {Tracks} tracks
 * @param {import("./message.js").Points} points
 * @param {number} [limit]
 */
function fill(tracks, points, limit) {
  for (const [name, { x, y }] of points) {
    if (!(name in SERIES)) continue;
    let track = tracks.get(name);
    if (!track) tracks.set(name, (track = new Track(limit)));
    track.append(x, y);
  }
  return tracks;
}
