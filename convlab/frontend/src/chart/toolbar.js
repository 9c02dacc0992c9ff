import { element } from "./element.js";

/** Steps that a smoothed curve looks back on: the stops of the slider. */
const SPANS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/**
 * The controls of one view; they show and set the traits `log_scale` and `smoothing`.
 * @param {{get: (name: string) => any, set: (name: string, value: unknown) => void, resetZoom: () => void}} chart
 */
export function makeToolbar(chart) {
  const log = element("input", { type: "checkbox" });
  const slider = element("input", { type: "range", min: "0", max: String(SPANS.length - 1), step: "1" });
  const span = element("output");
  const reset = element("button", { type: "button", title: "Show all steps (or double-click a plot)" }, "All steps");
  reset.hidden = true;
  log.addEventListener("change", () => chart.set("log_scale", log.checked));
  slider.addEventListener("input", () => chart.set("smoothing", 1 - 1 / SPANS[slider.valueAsNumber]));
  reset.addEventListener("click", chart.resetZoom);
  const root = element(
    "div",
    { class: "convlab-chart-toolbar", role: "toolbar", "aria-label": "How the curves are drawn" },
    element(
      "label",
      { title: "Draw the loss on a logarithmic axis: equal distances are equal ratios" },
      log,
      "Log loss",
    ),
    element(
      "label",
      { title: "Average the training curves over about this many steps; the raw curve stays faint" },
      "Smoothing",
      slider,
    ),
    span,
    reset,
  );

  return {
    root,
    /** Shows the traits as they are now, and the button only while there is something to reset. */
    show(/** @type {boolean} */ zoomed) {
      log.checked = chart.get("log_scale");
      const steps = Math.round(1 / (1 - chart.get("smoothing")));
      slider.value = String(nearest(steps));
      const text = steps <= 1 ? "off" : `${steps} steps`;
      slider.setAttribute("aria-valuetext", text);
      span.textContent = text;
      reset.hidden = !zoomed;
    },
  };
}

/** @param {number} steps */
function nearest(steps) {
  const distance = (/** @type {number} */ span) => Math.abs(Math.log(span / steps));
  return SPANS.reduce((best, span, i) => (distance(span) < distance(SPANS[best]) ? i : best), 0);
}
