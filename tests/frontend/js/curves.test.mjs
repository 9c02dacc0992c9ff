import assert from "node:assert/strict";
import { test } from "node:test";
import { formatTick } from "../../../convlab/frontend/src/chart/format.js";
import { unpack } from "../../../convlab/frontend/src/curves/message.js";
import { drawnOver, nearest } from "../../../convlab/frontend/src/curves/nearest.js";

test("the nearest point is found by difference, or by ratio on a logarithmic axis", () => {
  const xs = [0.001, 0.1, 1];
  assert.equal(nearest(xs, 0.02, false), 0);
  assert.equal(nearest(xs, 0.02, true), 1);
  assert.equal(nearest([], 1, true), -1);
});

test("a trace drawn over keeps what lies outside of the hand's way", () => {
  let trace = [[0, 1], [1, 1], [2, 1], [3, 1]];
  trace = drawnOver(trace, 2, 5, 1);
  assert.deepEqual(trace, [[0, 1], [1, 1], [2, 5], [3, 1]]);
  trace = drawnOver(trace, 0, 7, 2);
  assert.deepEqual(trace, [[0, 7], [2, 5], [3, 1]]);
});

test("lines are unpacked in the order in which they were packed, what is not finite is a gap", () => {
  const numbers = new Float64Array([1, 2, 5, NaN, 4, 4, 6, 6, 9, 8]);
  const header = [
    { name: "a", length: 2, colour: 0, style: "solid", band: true },
    { name: "b", length: 1, colour: 1, style: "dash", band: false },
  ];
  const [a, b] = unpack(header, numbers.buffer);
  assert.deepEqual([a.x, a.y, a.low, a.high], [[1, 2], [5, null], [4, 4], [6, 6]]);
  assert.deepEqual([b.x, b.y, b.low], [[9], [8], []]);
  assert.equal(b.name, "b");
});

test("neighbours on an axis bear different numbers", () => {
  assert.deepEqual([0.9485, 0.949, 0.9495].map((v) => formatTick(v, 0.0005)), ["0.9485", "0.949", "0.9495"]);
  assert.deepEqual([0, 0.02, 0.04].map((v) => formatTick(v, 0.02)), ["0", "0.02", "0.04"]);
  assert.equal(formatTick(0.00001, 0), "1e-5");
  assert.equal(formatTick(2.5e9, 5e8), "2.5e+9");
});
