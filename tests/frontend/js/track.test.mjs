import assert from "node:assert/strict";
import test from "node:test";
import { Track } from "../../../convlab/frontend/src/chart/track.js";

/** @param {number} n */
const steps = (n) => Array.from({ length: n }, (_, i) => i + 1);

test("a short curve is kept as it is", () => {
  const track = new Track(8);
  track.append([1, 2, 3], [0.5, 0.25, 0.125]);
  assert.deepEqual(track.extremes(), [[1, 2, 3], [0.5, 0.25, 0.125]]);
  assert.deepEqual(track.means(), track.extremes());
});

test("a long curve stays within the limit, in order, and keeps its spikes", () => {
  const track = new Track(64);
  const xs = steps(100_000);
  const ys = xs.map((x) => (x === 31_337 ? 1000 : x === 77_777 ? -1000 : Math.sin(x)));
  for (let i = 0; i < xs.length; i += 7) track.append(xs.slice(i, i + 7), ys.slice(i, i + 7));
  const [x, y] = track.extremes();
  assert.ok(track.length <= 64 && track.length > 16, `${track.length} buckets`);
  assert.ok(x.every((v, i) => i === 0 || x[i - 1] < v));
  assert.equal(y[x.indexOf(31_337)], 1000);
  assert.equal(y[x.indexOf(77_777)], -1000);
});

test("resolution is even: no bucket is much wider than another", () => {
  const track = new Track(64);
  for (const x of steps(5000)) track.append([x], [x]);
  const widths = track.buckets.slice(1, -1).map((b) => b.maxStep - b.minStep);
  assert.ok(Math.max(...widths) <= 2 * Math.min(...widths) + 1, String(widths));
});

test("means are those of the points, whatever was merged", () => {
  const track = new Track(16);
  const ys = steps(1000).map((x) => (x % 10 === 0 ? 10 : 0));
  track.append(steps(1000), ys);
  const total = track.buckets.reduce((sum, b) => sum + b.sumY, 0);
  const count = track.buckets.reduce((sum, b) => sum + b.count, 0);
  assert.equal(count, 1000);
  assert.equal(total / count, 1);
});

test("points that come in again, or after a rewind, take the place of the old ones", () => {
  const track = new Track(8);
  track.append([1, 2, 3, 4], [1, 2, 3, 4]);
  track.append([3, 4], [30, 40]);
  assert.deepEqual(track.extremes(), [[1, 2, 3, 4], [1, 2, 30, 40]]);
  track.append([2], [-2]);
  assert.deepEqual(track.extremes(), [[1, 2], [1, -2]]);
});

test("what is not finite is a gap, and never an extreme", () => {
  const track = new Track(8);
  track.append([1, 2, 3, 4], [1, NaN, Infinity, 4]);
  assert.deepEqual(track.extremes(), [[1, 2, 3, 4], [1, null, null, 4]]);
  assert.deepEqual(track.means(), [[1, 2, 3, 4], [1, null, null, 4]]);
  track.append(steps(100).map((x) => x + 4), steps(100).map((x) => (x % 2 ? NaN : 5)));
  const [, y] = track.extremes();
  assert.ok(y.every((v) => v === null || (v >= 1 && v <= 5)));
  assert.ok(y.some((v) => v === 5));
});

test("the value at a step is the last one known by then", () => {
  const track = new Track(8);
  track.append([10, 20], [0.5, 0.7]);
  assert.equal(track.at(9), null);
  assert.equal(track.at(10), 0.5);
  assert.equal(track.at(19), 0.5);
  assert.equal(track.at(1e9), 0.7);
  assert.equal(new Track().at(3), null);
});
