import { SERIES } from "./series.js";

/**
 * The curves in words, for those who do not see them.
 * @param {import("./store.js").Store} store
 */
export function describe(store) {
  const step = store.lastStep;
  const what = "Curves of loss and accuracy against training steps.";
  if (step === null) return what;
  const said = Object.entries(SERIES).flatMap(([name, { label, plot, format }]) => {
    const value = plot && plot !== "lr" ? store.valueAt(name, step) : null;
    return value === null ? [] : [`${label.replace("acc.", "accuracy")} ${format(value)}`];
  });
  return `${what} At step ${step}: ${said.join(", ")}.`;
}
