import assert from "node:assert/strict";
import test from "node:test";
import { between, moved } from "../../../convlab/frontend/src/sketch/pen.js";

test("a fast hand leaves no gaps", () => {
  assert.deepEqual(between([0, 0], [2, 4]), [
    [1, 1],
    [1, 2],
    [2, 3],
    [2, 4],
  ]);
  assert.deepEqual(between([3, 3], [3, 2]), [[3, 2]]);
  assert.deepEqual(between([1, 1], [1, 1]), []);
});

test("the pen stays in the picture", () => {
  assert.deepEqual(moved([0, 7], [-1, 1], [8, 8]), [0, 7]);
  assert.deepEqual(moved([3, 3], [1, -1], [8, 8]), [4, 2]);
  assert.deepEqual(moved([12, -4], [0, 0], [8, 8]), [7, 0]);
});
