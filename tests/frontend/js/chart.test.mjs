import assert from "node:assert/strict";
import test from "node:test";
import { formatAccuracy, formatLoss, formatRate, formatStep } from "../../../convlab/frontend/src/chart/format.js";
import { linesOf } from "../../../convlab/frontend/src/chart/lines.js";
import { groupMarks, placeLabels } from "../../../convlab/frontend/src/chart/marks.js";
import { accuracyRange, logLossRange, logTicks, lossRange } from "../../../convlab/frontend/src/chart/ranges.js";
import { Store } from "../../../convlab/frontend/src/chart/store.js";

/** @param {number[]} numbers */
const buffer = (numbers) => new DataView(new Float64Array(numbers).buffer);

test("the store unpacks, extends, replaces, and tells its listeners", () => {
  const store = new Store();
  let told = 0;
  store.listeners.add(() => told++);
  assert.equal(store.lastStep, null);
  const header = [["train_loss", 2], ["valid_loss", 1]];
  store.receive({ type: "extend", header }, [buffer([1, 2, 0.5, 0.25, 2, 0.75])]);
  assert.deepEqual(store.tracks.get("train_loss")?.extremes(), [[1, 2], [0.5, 0.25]]);
  assert.deepEqual(store.tracks.get("valid_loss")?.extremes(), [[2], [0.75]]);
  store.receive({ type: "replace", header: [["train_loss", 1]] }, [buffer([7, 1])]);
  assert.deepEqual([...store.tracks.keys()], ["train_loss"]);
  assert.equal(store.lastStep, 7);
  store.receive({ type: "replace", header: [] }, []);
  assert.equal(store.lastStep, null);
  store.receive({ type: "unheard of", header: null }, []);
  assert.equal(told, 3);
});

test("a step belongs to the epoch that ends at or after it", () => {
  const store = new Store();
  assert.equal(store.valueAt("epoch", 1), 1);
  store.receive({ type: "extend", header: [["epoch", 2]] }, [buffer([45, 90, 1, 2])]);
  assert.deepEqual([1, 45, 46, 90, 91].map((step) => store.valueAt("epoch", step)), [1, 1, 2, 2, 3]);
  assert.equal(store.valueAt("lr", 5), null);
});

test("a buffer may begin anywhere in its message", () => {
  const store = new Store();
  const bytes = new Uint8Array(20);
  bytes.set(new Uint8Array(new Float64Array([3, 0.5]).buffer), 4);
  store.receive({ type: "extend", header: [["train_loss", 1]] }, [new DataView(bytes.buffer, 4, 16)]);
  assert.deepEqual(store.tracks.get("train_loss")?.extremes(), [[3], [0.5]]);
});

test("lines: earlier runs behind, the raw curve faint under the smoothed one, validation unsmoothed", () => {
  const store = new Store();
  const header = [["train_loss", 3], ["valid_loss", 3]];
  store.receive({ type: "extend", header }, [buffer([1, 2, 3, 4, 0, 2, 1, 2, 3, 4, 0, 2])]);
  store.receive({ type: "ghosts", header: [{ name: "<b>", header: [["train_loss", 1]] }] }, [buffer([1, 9])]);
  const look = { smoothing: 0.5, positive: false, highlighted: null };
  const lines = linesOf(store, "loss", look);
  assert.deepEqual(lines.map((line) => line.colour), ["ghost", "blue", "orange", "blue"]);
  assert.deepEqual(lines[1].y, [4, 0, 2]);
  assert.ok(lines[1].alpha < 0.5);
  assert.deepEqual(lines[2].y, [4, 0, 2]);
  assert.ok(Number(lines[3].y[1]) > 0 && Number(lines[3].y[1]) < 4);
  assert.equal(linesOf(store, "loss", { ...look, smoothing: 0 }).length, 3);
  assert.equal(linesOf(store, "loss", { ...look, highlighted: 0 })[0].colour, "text");
  assert.deepEqual(linesOf(store, "loss", { ...look, positive: true })[1].y, [4, null, 2]);
  assert.deepEqual(linesOf(store, "accuracy", look), []);
});

test("axes hold their values", () => {
  for (const [low, high] of [[0, 2.3], [0.9, 1], [-1, 1], [3, 3], [0, 0], [1e-8, 1e9]]) {
    const [bottom, top] = lossRange(low, high);
    assert.ok(bottom <= low && top >= high && bottom < top, `${low}..${high} in ${bottom}..${top}`);
  }
  for (const [low, high] of [[0.02, 2.3], [0.2, 0.4], [3, 3], [1e-7, 1e5], [1, 10]]) {
    const [bottom, top] = logLossRange(low, high);
    assert.ok(bottom > 0 && bottom <= low && top >= high && top / bottom >= 10, `${low}..${high} in ${bottom}..${top}`);
  }
  // Two steps whose losses hardly differ: the axis stays one that few digits tell.
  for (const [low, high] of [[2.2673, 2.2682], [2.26751, 2.26752], [0.05, 0.05]]) {
    const [bottom, top] = lossRange(low, high);
    assert.ok(bottom <= low && top >= high && top - bottom >= 1e-3 * high);
  }
  assert.equal(accuracyRange(0.1, 0.99)[0], 0);
  assert.equal(accuracyRange(0.87, 0.99)[0], 0.8);
  assert.ok(accuracyRange(1, 1)[0] < 1);
  for (const range of [lossRange, logLossRange, accuracyRange]) {
    const [bottom, top] = range(null, null);
    assert.ok(bottom < top);
  }
  assert.deepEqual(logTicks([0.5, 0.6, 1, 2, 3]), [0.5, null, 1, 2, null]);
  assert.deepEqual(logTicks([0.001, 0.002, 0.01, 1]), [0.001, null, 0.01, 1]);
});

test("marks that lie together share a label, those outside have none", () => {
  const marks = [
    { step: 50, label: "lr 0.1 → 0.01" },
    { step: 52, label: "momentum 0.9 → 0.5" },
    { step: 10, label: "first" },
    { step: 999, label: "outside" },
  ];
  assert.deepEqual(groupMarks(marks, (step) => step, 100), [
    { x: 10, text: "first" },
    { x: 50, text: "lr 0.1 → 0.01 · momentum 0.9 → 0.5" },
  ]);
});

test("labels never overlap and stay inside; the newest always has its place", () => {
  const groups = [5, 30, 60, 290, 296].map((x) => ({ x, wide: 80 }));
  const places = placeLabels(groups, 300);
  assert.deepEqual(places[4], { left: 216, width: 80 });
  assert.equal(places[3], "covered");
  assert.deepEqual(places[2], { left: 60, width: 80 });
  const shown = places.filter((place) => typeof place === "object");
  shown.forEach((place, i) => {
    assert.ok(place.left >= 0 && place.left + place.width <= 300);
    if (i) assert.ok(shown[i - 1].left + shown[i - 1].width <= place.left);
  });
});

test("a label that has too little room for a word is a tick", () => {
  const places = placeLabels([100, 110, 120].map((x) => ({ x, wide: 80 })), 300);
  assert.deepEqual(places.slice(1), ["tick", { left: 120, width: 80 }]);
  assert.deepEqual(places[0], { left: 20, width: 80 });
});

test("numbers as a person reads them", () => {
  assert.equal(formatStep(12345), "12,345");
  assert.equal(formatLoss(0.0123456), "0.01235");
  assert.equal(formatLoss(0), "0");
  assert.equal(formatLoss(1e-7), "1.00e-7");
  assert.equal(formatAccuracy(0.9725), "97.3 %");
  assert.equal(formatRate(0.1), "0.1");
  assert.equal(formatRate(0.00012345), "0.000123");
  assert.equal(formatRate(1e-5), "1e-5");
  assert.equal(formatRate(0), "0");
});
