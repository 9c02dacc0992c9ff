import { SERIES } from "./series.js";
import { smooth } from "./smooth.js";

/**
 * One line of a plot, ready to be drawn.
 * @typedef {{x: number[], y: (number | null)[], colour: "blue" | "orange" | "ghost" | "text", dash: number[],
 *   width: number, alpha: number, markers: boolean}} Line
 */

/**
 * The lines of one plot, those behind first: earlier runs, the raw curves, the smoothed ones.
 * @param {import("./store.js").Store} store
 * @param {"loss" | "accuracy" | "lr"} plot
 * @param {{smoothing: number, positive: boolean, highlighted: number | null}} look `positive` drops what a
 *   logarithmic axis cannot show; `highlighted` is the index of the earlier run to bring out
 * @returns {Line[]}
 */
export function linesOf(store, plot, { smoothing, positive, highlighted }) {
  /** @type {Line[]} */
  const lines = [];
  const names = Object.keys(SERIES).filter((name) => SERIES[name].plot === plot);
  const add = (/** @type {[number[], (number | null)[]]} */ [x, y], /** @type {Omit<Line, "x" | "y">} */ style) =>
    lines.push({ x, y: positive ? y.map((v) => (v !== null && v > 0 ? v : null)) : y, ...style });

  store.ghosts.forEach((ghost, i) => {
    const bright = i === highlighted;
    for (const name of names) {
      const track = ghost.tracks.get(name);
      if (!track?.length) continue;
      const [x, y] = track.means();
      const weight = name.startsWith("train") ? smoothing : 0;
      const style = { dash: SERIES[name].dash, width: bright ? 2 : 1, alpha: 1, markers: false };
      add([x, smooth(x, y, weight)], { colour: bright ? "text" : "ghost", ...style });
    }
  });
  /** @type {(() => void)[]} */
  const onTop = [];
  for (const name of names) {
    const { colour, dash } = SERIES[name];
    const track = store.tracks.get(name);
    if (!track?.length || !colour) continue;
    // Validation is one measurement an epoch: it is shown as it is.
    const smoothed = smoothing > 0 && name.startsWith("train") && track.length > 1;
    const style = { colour, dash, width: smoothed ? 1 : 2, alpha: smoothed ? 0.35 : 1, markers: plot !== "lr" };
    add(track.extremes(), style);
    if (!smoothed) continue;
    const [x, y] = track.means();
    onTop.push(() => add([x, smooth(x, y, smoothing)], { colour, dash, width: 2, alpha: 1, markers: false }));
  }
  for (const push of onTop) push();
  return lines;
}
