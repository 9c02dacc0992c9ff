import assert from "node:assert/strict";
import test from "node:test";
import { smooth } from "../../../convlab/frontend/src/chart/smooth.js";

const close = (/** @type {(number | null)[]} */ a, /** @type {(number | null)[]} */ b) =>
  a.forEach((v, i) => assert.ok(v === b[i] || Math.abs(Number(v) - Number(b[i])) < 1e-12, `${a} is not ${b}`));

test("by hand: bias-corrected, as in the paper on Adam", () => {
  // m = 0.5 m + 0.5 y: 1, 3 -> 0.5, 1.75; corrected by 1 - 0.5 ** t: 0.5, 0.75.
  close(smooth([1, 2], [1, 3], 0.5), [1, 1.75 / 0.75]);
});

test("a constant stays itself from the first point on", () => {
  close(smooth([1, 2, 3, 9], [7, 7, 7, 7], 0.99), [7, 7, 7, 7]);
});

test("weight 0 changes nothing", () => {
  close(smooth([1, 2, 3], [3, 1, 2], 0), [3, 1, 2]);
});

test("a gap stays a gap and leaves the average alone", () => {
  close(smooth([1, 2, 3], [1, null, 1], 0.9), [1, null, 1]);
});

test("the past decays by steps, not by points", () => {
  // Nothing between steps 1 and 11 leaves 0.9 ** 10 of the first value, whose own weight is 0.1 at the start.
  const keep = 0.9 ** 10;
  const [, second] = smooth([1, 11], [1, 0], 0.9);
  close([second], [(keep * 0.1) / (keep * 0.1 + 1 - keep)]);
});
