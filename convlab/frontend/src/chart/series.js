import { formatAccuracy, formatLoss, formatRate } from "./format.js";

/**
 * Every series that the chart knows: how it is called, where it is drawn, how its values read. A series without a
 * plot is only read out, that of the lr is shown on demand. Training and validation differ in colour, dash and marker. The names are those of
 * convlab/frontend/chart.py.
 * @typedef {{label: string, plot: "loss" | "accuracy" | "lr" | null, colour: "blue" | "orange" | null, dash: number[],
 *   format: (value: number) => string}} Series
 * @type {Record<string, Series>}
 */
export const SERIES = {
  train_loss: { label: "train loss", plot: "loss", colour: "blue", dash: [], format: formatLoss },
  valid_loss: { label: "valid loss", plot: "loss", colour: "orange", dash: [6, 4], format: formatLoss },
  train_accuracy: { label: "train acc.", plot: "accuracy", colour: "blue", dash: [], format: formatAccuracy },
  valid_accuracy: { label: "valid acc.", plot: "accuracy", colour: "orange", dash: [6, 4], format: formatAccuracy },
  lr: { label: "lr", plot: "lr", colour: "blue", dash: [], format: formatRate },
  planned_lr: { label: "planned lr", plot: "lr", colour: "orange", dash: [6, 4], format: formatRate },
  epoch: { label: "epoch", plot: null, colour: null, dash: [], format: (epoch) => String(Math.floor(epoch)) },
};
