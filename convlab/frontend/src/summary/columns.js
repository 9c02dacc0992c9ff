import { count, field, memory, short, size } from "./format.js";

/**
 * @typedef {{path: string, call: number, kind: string, depth: number, isLeaf: boolean, state: string, details: string,
 *   kernel_size: number[], input_size: number[], output_size: number[], num_params: number, trainable: number,
 *   mult_adds: number, memory: number, receptive_field: string, jump: string, params_share: number,
 *   mult_adds_share: number, memory_share: number, before: Record<string, any>}} Row
 * @typedef {{key: string, label: string, title: string, format?: (value: any, row: Row) => string, share?: string,
 *   exact?: (value: any) => string, isNumber?: boolean, room: number}} Column
 *   room: width in digits that takes a change, before and after: then no column jumps while a slider is dragged
 */

/** In the order in which Python sends them. */
const FIELDS = [
  ...["path", "call", "kind", "depth", "isLeaf", "state", "details", "kernel_size", "input_size", "output_size"],
  ...["num_params", "trainable", "mult_adds", "memory", "receptive_field", "jump"],
  ...["params_share", "mult_adds_share", "memory_share", "before"],
];

/** @returns {Row} */
export const row = (/** @type {any[]} */ values) =>
  /** @type {any} */ (Object.fromEntries(FIELDS.map((name, index) => [name, values[index]])));

/**
 * torchinfo's words.
 * @param {number} value
 * @param {Row} row
 */
const trainable = (value, { num_params }) =>
  num_params ? (value === num_params ? "True" : value ? "Partial" : "False") : "";

const some = (/** @type {(value: number) => string} */ format) => (/** @type {number} */ value) => (value ? format(value) : "");

/** @type {Column[]} */
export const COLUMNS = [
  { key: "kind", label: "kind", title: "Class of the module, or name of the function. Point at one for its settings.", room: 12 },
  {
    key: "kernel_size",
    label: "kernel",
    title: "Height and width of the window.",
    format: size,
    isNumber: true,
    room: 9,
  },
  {
    key: "input_size",
    label: "input_size",
    title: "Size of what goes in: batch, channels, height, width.",
    format: size,
    isNumber: true,
    room: 13,
  },
  {
    key: "output_size",
    label: "output_size",
    title: "Size of what comes out: batch, channels, height, width.",
    format: size,
    isNumber: true,
    room: 15,
  },
  {
    key: "num_params",
    label: "num_params",
    title: "Weights and biases. The bar is the layer's part of the model's.",
    format: (value, row) => (row.call ? (value ? "shared" : "") : some(count)(value)),
    share: "params_share",
    isNumber: true,
    room: 13,
  },
  { key: "trainable", label: "trainable", title: "Whether training changes all, some or none of them.", format: trainable, room: 9 },
  {
    key: "mult_adds",
    label: "mult_adds",
    title: "Multiplications with additions in one forward pass. The bar is the layer's part.",
    format: some(short),
    exact: count,
    share: "mult_adds_share",
    isNumber: true,
    room: 12,
  },
  {
    key: "memory",
    label: "memory",
    title: "Memory of the output. The bar is the layer's part.",
    format: memory,
    exact: (value) => `${count(value)} bytes`,
    share: "memory_share",
    isNumber: true,
    room: 8,
  },
  {
    key: "receptive_field",
    label: "receptive field",
    title: "How many input pixels a unit sees along each axis; global: all of them, the local path in brackets.",
    format: field,
    isNumber: true,
    room: 20,
  },
  {
    key: "jump",
    label: "jump",
    title: "Distance in input pixels between neighbouring units (the effective stride).",
    format: field,
    isNumber: true,
    room: 5,
  },
];
