import uPlot from "uplot";
import { formatStep } from "./format.js";
import { logTicks } from "./ranges.js";

/** Most points that are marked one by one; more would hide the line. */
const MOST_MARKERS = 60;
const WHOLE_STEPS = Array.from({ length: 28 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3));

/**
 * What a plot asks of the chart it stands in.
 * @typedef {{theme: import("./theme.js").Theme, width: number, syncKey: string,
 *   domain: () => [number, number], onZoom: (range: [number, number] | null) => void,
 *   onCursor: (plot: uPlot) => void, onDraw: (plot: uPlot) => void}} Frame
 */

/**
 * One plot over the steps: its frame is uPlot's, its lines are set anew by `draw`.
 * @param {HTMLElement} parent
 * @param {{label: string, height: number, log: boolean, steps: boolean,
 *   range: (low: number | null, high: number | null) => [number, number],
 *   tick: (value: number, increment: number) => string}} kind `steps`: with numbers and a title below the axis of steps
 * @param {Frame} frame
 */
export function makePlot(parent, kind, frame) {
  const { theme } = frame;
  const em = theme.fontSize;
  const axis = {
    stroke: theme.text,
    font: theme.font,
    labelFont: theme.font,
    grid: { stroke: theme.grid, width: 1 },
    ticks: { stroke: theme.grid, width: 1, size: 4 },
    gap: 3,
  };
  /** @type {import("./lines.js").Line[]} */
  let lines = [];
  /** @type {uPlot | null} */
  let plot = null;

  const options = () => ({
    width: frame.width,
    height: kind.height,
    padding: /** @type {[number, number, number, number]} */ ([em * 0.7, em * 2.5, kind.steps ? 0 : em * 0.4, 0]),
    legend: { show: false },
    scales: {
      x: { time: false, range: frame.domain },
      y: {
        distr: /** @type {1 | 3} */ (kind.log ? 3 : 1),
        range: (/** @type {uPlot} */ _, /** @type {number} */ low, /** @type {number} */ high) => kind.range(low, high),
      },
    },
    axes: [
      {
        ...axis,
        size: kind.steps ? em * 1.7 : 4,
        incrs: WHOLE_STEPS,
        space: em * 6,
        values: (/** @type {uPlot} */ _, /** @type {number[]} */ at) => at.map((v) => (kind.steps ? formatStep(v) : "")),
        ...(kind.steps ? { label: "step", labelSize: em * 1.4, labelGap: 0 } : {}),
      },
      {
        ...axis,
        size: em * 3.6,
        space: em * 2.2,
        values: (
          /** @type {uPlot} */ _,
          /** @type {(number | null)[]} */ at,
          /** @type {number} */ __,
          /** @type {number} */ ___,
          /** @type {number} */ increment,
        ) => at.map((v) => (v === null ? "" : kind.tick(v, increment))),
        ...(kind.log ? { filter: (/** @type {uPlot} */ _, /** @type {number[]} */ at) => logTicks(at) } : {}),
        label: kind.label,
        labelSize: em * 1.5,
        labelGap: 0,
      },
    ],
    series: [{}, ...lines.map((line, i) => seriesOf(line, i, theme, () => lines))],
    cursor: {
      y: false,
      points: { show: false },
      drag: { x: true, y: false, setScale: false },
      bind: { dblclick: () => () => (frame.onZoom(null), null) },
      sync: {
        key: frame.syncKey,
        setSeries: false,
        // Zooming is passed on as a range of steps; passed on as clicks it would be done twice.
        filters: { pub: (/** @type {string} */ type) => !["mousedown", "mouseup", "dblclick"].includes(type) },
      },
    },
    hooks: {
      setCursor: [frame.onCursor],
      draw: [frame.onDraw],
      setSelect: [
        (/** @type {uPlot} */ u) => {
          const { left, width } = u.select;
          if (width < 4) return;
          const range = /** @type {[number, number]} */ ([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          frame.onZoom(range);
        },
      ],
    },
  });

  return {
    /** @returns {uPlot | null} */
    get uplot() {
      return plot;
    },
    /** @param {import("./lines.js").Line[]} next */
    draw(next) {
      const sameKind = plot !== null && next.length === lines.length && next.every((line, i) => alike(line, lines[i]));
      lines = next;
      const tables = lines.map((line) => /** @type {uPlot.AlignedData} */ ([line.x, line.y]));
      const data = tables.length ? uPlot.join(tables) : /** @type {uPlot.AlignedData} */ ([[]]);
      if (sameKind && plot) {
        plot.setData(data);
        return;
      }
      // uPlot fixes a line's look when it is made; the lines change in kind a few times a run.
      const after = plot?.root.nextSibling;
      plot?.destroy();
      plot = new uPlot(/** @type {uPlot.Options} */ (/** @type {unknown} */ (options())), data, parent);
      // uPlot goes to the end; a plot that is made again stays where it was.
      if (after) parent.insertBefore(plot.root, after);
    },
    /** @param {number} width */
    resize(width) {
      plot?.setSize({ width, height: kind.height });
    },
    destroy() {
      plot?.destroy();
      plot = null;
    },
  };
}

/** @typedef {ReturnType<typeof makePlot>} Plot */

/**
 * @param {import("./lines.js").Line} line
 * @param {number} index
 * @param {import("./theme.js").Theme} theme
 * @param {() => import("./lines.js").Line[]} current
 */
function seriesOf(line, index, theme, current) {
  const stroke = theme[line.colour];
  return {
    stroke,
    width: line.width,
    dash: line.dash,
    alpha: line.alpha,
    points: {
      show: () => line.markers && current()[index].y.length <= MOST_MARKERS,
      size: line.dash.length ? 6 : 4,
      width: 1.5,
      stroke,
      fill: line.dash.length ? theme.background : stroke,
    },
  };
}

/**
 * @param {import("./lines.js").Line} a
 * @param {import("./lines.js").Line} b
 */
function alike(a, b) {
  return (
    a.colour === b.colour && a.width === b.width && a.alpha === b.alpha && a.dash === b.dash && a.markers === b.markers
  );
}
