/**
 * Source code of the layer in four forms, word for word what convlab/models/conv_code.py writes; a test compares them.
 * @typedef {import("./geometry.js").Settings} Settings
 */
import { outputSize, pads, span } from "./geometry.js";

export const FORMS = ["nn", "functional", "unfold", "keras"];

/** A program that ends in `y`. @param {"nn"|"functional"|"unfold"|"keras"} form @param {Settings} s */
export function code(form, s) {
  if (form === "nn") return nn(s).join("\n");
  if (form === "functional") return functional(s).join("\n");
  if (form === "unfold") return (s.transposed ? fold(s) : unfold(s)).join("\n");
  return (s.transposed ? kerasTransposed(s) : keras(s)).join("\n");
}

/** One item an axis. */
const each = (s, item) => Array(s.dims).fill(item).flat();
const tuple = (numbers) => `(${numbers.join(", ")})`;
const axes = (s) => (s.dims === 2 ? "height, width" : "length");
const shape = (s) => tuple([1, s.out_channels, ...each(s, outputSize(s))]);
const kerasShape = (s) => tuple([1, ...each(s, outputSize(s)), s.out_channels]);
const bias = (s) => `bias.view(${[-1, ...each(s, 1)].join(", ")})`;

function args(s, ...more) {
  const padding = typeof s.padding === "string" ? `"${s.padding}"` : s.padding;
  const parts = [...more, `stride=${s.stride}`, `padding=${padding}`];
  if (s.dilation > 1) parts.push(`dilation=${s.dilation}`);
  if (s.groups > 1) parts.push(`groups=${s.groups}`);
  return parts.join(", ");
}

function input(s) {
  const sizes = [1, s.in_channels, ...each(s, s.input_size)];
  return `x = torch.randn(${sizes.join(", ")})  # batch, channels, ${axes(s)}`;
}

function weights(s) {
  const [first, second] = s.transposed ? ["in_channels", "out_channels"] : ["out_channels", "in_channels"];
  const sizes = [s[first], s[second] / s.groups, ...each(s, s.kernel_size)];
  return [
    `weight = torch.randn${tuple(sizes)}  # ${first}, ${second} / groups, ${axes(s)}`,
    `bias = torch.randn(${s.out_channels})`,
  ];
}

function nn(s) {
  const name = `${s.transposed ? "ConvTranspose" : "Conv"}${s.dims}d`;
  return [
    "import torch",
    "from torch import nn",
    "",
    input(s),
    `conv = nn.${name}(${args(s, `${s.in_channels}, ${s.out_channels}`, `kernel_size=${s.kernel_size}`)})`,
    `y = conv(x)  # shape ${shape(s)}`,
  ];
}

const head = (s) => ["import torch", "import torch.nn.functional as F", "", input(s), ...weights(s)];

function functional(s) {
  const name = `${s.transposed ? "conv_transpose" : "conv"}${s.dims}d`;
  return [...head(s), `y = F.${name}(${args(s, "x, weight, bias")})  # shape ${shape(s)}`];
}

/** Letters of the axes in an einsum: of the image and of the kernel. */
const letters = (s) => (s.dims === 2 ? ["hw", "ij"] : ["l", "i"]);

function unfold(s) {
  const [before, after] = pads(s);
  const lines = head(s);
  let source = "x";
  if (before || after) {
    lines.push(`padded = F.pad(x, ${tuple(each(s, [before, after]))})  # zeros before and after`);
    source = "padded";
  }
  const step = s.dilation > 1 ? `[..., ${each(s, `::${s.dilation}`).join(", ")}]` : "";
  const cuts = each(s, 0).map((_, axis) => `.unfold(${2 + axis}, ${span(s)}, ${s.stride})`).join("");
  lines.push(`windows = ${source}${cuts}${step}  # one window for each output pixel`);
  const [image, kernel] = letters(s);
  if (s.groups === 1) {
    lines.push(`sums = torch.einsum("bc${image}${kernel},oc${kernel}->bo${image}", windows, weight)`);
  } else {
    lines.push(
      `windows = windows.unflatten(1, (${s.groups}, -1))  # channels by group`,
      `kernels = weight.unflatten(0, (${s.groups}, -1))`,
      `sums = torch.einsum("bgc${image}${kernel},goc${kernel}->bgo${image}", windows, kernels).flatten(1, 2)`,
    );
  }
  return [...lines, `y = sums + ${bias(s)}  # shape ${shape(s)}`];
}

function fold(s) {
  const lines = head(s);
  const [image, kernel] = letters(s);
  let products = `torch.einsum("bc${image},co${kernel}->bo${kernel}${image}", x, weight)`;
  if (s.groups > 1) {
    lines.push(
      `parts = x.unflatten(1, (${s.groups}, -1))  # channels by group`,
      `kernels = weight.unflatten(0, (${s.groups}, -1))`,
    );
    products = `torch.einsum("bgc${image},gco${kernel}->bgo${kernel}${image}", parts, kernels)`;
  }
  lines.push(
    `patches = ${products}  # what each input pixel paints`,
    `patches = patches.reshape(1, -1, ${s.input_size ** s.dims})`,
  );
  // F.fold knows images only: a line is an image one pixel high.
  const image2d = (number, rest) => tuple(s.dims === 2 ? [number, number] : [rest, number]);
  const parts = [
    `output_size=${image2d(outputSize(s), 1)}`,
    `kernel_size=${image2d(s.kernel_size, 1)}`,
    `dilation=${image2d(s.dilation, 1)}`,
    `padding=${image2d(pads(s)[0], 0)}`,
    `stride=${image2d(s.stride, 1)}`,
  ];
  const squeeze = s.dims === 2 ? "" : ".squeeze(2)";
  lines.push(`sums = F.fold(patches, ${parts.join(", ")})${squeeze}  # overlaps add up`);
  return [...lines, `y = sums + ${bias(s)}  # shape ${shape(s)}`];
}

function kerasInput(s) {
  const sizes = tuple([1, ...each(s, s.input_size), s.in_channels]);
  return ["import keras", "", `x = keras.random.normal(${sizes})  # batch, ${axes(s)}, channels`];
}

function keras(s) {
  const lines = kerasInput(s);
  const [before] = pads(s);
  const same = s.padding === "same";
  const source = before && !same ? "padded" : "x";
  if (source === "padded") lines.push(`padded = keras.layers.ZeroPadding${s.dims}D(${before})(x)`);
  let [strides, step] = [s.stride, ""];
  if (s.stride > 1 && s.dilation > 1) {
    lines.push("# Keras refuses strides > 1 with dilation_rate > 1: convolve at every pixel, keep some.");
    [strides, step] = [1, `[:, ${each(s, `::${s.stride}`).join(", ")}]`];
  }
  const parts = [s.out_channels, `kernel_size=${s.kernel_size}`, `strides=${strides}`];
  parts.push(`padding="${same ? "same" : "valid"}"`);
  if (s.dilation > 1) parts.push(`dilation_rate=${s.dilation}`);
  if (s.groups > 1) parts.push(`groups=${s.groups}`);
  lines.push(`conv = keras.layers.Conv${s.dims}D(${parts.join(", ")})`);
  return [...lines, `y = conv(${source})${step}  # shape ${kerasShape(s)}`];
}

function kerasTransposed(s) {
  const lines = kerasInput(s);
  let [strides, source] = [s.stride, "x"];
  if (s.stride > 1 && s.dilation > 1) {
    const apart = [1, ...each(s, [s.input_size, 1]), s.in_channels];
    const widths = ["[0, 0]", ...each(s, ["[0, 0]", `[0, ${s.stride - 1}]`]), "[0, 0]"];
    const spread = [1, ...each(s, s.input_size * s.stride), s.in_channels];
    lines.push(
      "# Keras refuses strides > 1 with dilation_rate > 1: put the stride's zeros between the pixels.",
      `apart = keras.ops.pad(keras.ops.reshape(x, ${tuple(apart)}), [${widths.join(", ")}])`,
      `spread = keras.ops.reshape(apart, ${tuple(spread)})`,
    );
    [strides, source] = [1, "spread"];
  }
  const parts = [s.out_channels / s.groups, `kernel_size=${s.kernel_size}`, `strides=${strides}`, 'padding="valid"'];
  if (s.dilation > 1) parts.push(`dilation_rate=${s.dilation}`);
  const conv = `keras.layers.Conv${s.dims}DTranspose(${parts.join(", ")})`;
  if (s.groups === 1) {
    lines.push(`conv = ${conv}`, `y = conv(${source})`);
  } else {
    lines.push(
      "# Keras has no groups here: one layer for each group.",
      `convs = [${conv} for _ in range(${s.groups})]`,
      `parts = keras.ops.split(${source}, ${s.groups}, axis=-1)`,
      "y = keras.ops.concatenate([conv(part) for conv, part in zip(convs, parts)], axis=-1)",
    );
  }
  const [start] = pads(s);
  const window = each(s, `${start}:${start + outputSize(s)}`).join(", ");
  return [...lines, `y = y[:, ${window}]  # torch's padding=${start} crops; shape ${kerasShape(s)}`];
}
