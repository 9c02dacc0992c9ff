/** The jargon in plain words, for whoever asks. */
export const MEANINGS = {
  dims: "1-D: the input is a line, such as sound. 2-D: a square image. Every axis is treated alike.",
  input_size: "Pixels along each side of the input.",
  kernel_size: "Weights along each side of the kernel, the small grid of numbers that slides over the input.",
  stride: "How many pixels the kernel moves from one place to the next. 2 halves the output. (Transposed: how far the patches are apart in the output.)",
  padding: "Zeros put around the input, in pixels, so that the kernel can reach over its edge. 'same' adds what keeps the size, 'valid' adds none. (Transposed: pixels cut off the output.)",
  dilation: "The distance between the pixels that neighbouring weights meet. 1: side by side. 2: every second pixel, so the same weights span more.",
  groups: "Channels are split into so many groups that do not see each other. As many groups as channels: a depthwise convolution.",
  in_channels: "How many grids of numbers come in, such as red, green and blue.",
  out_channels: "How many grids go out. Each has kernels and a bias of its own.",
  transposed: "Turned around: each input pixel paints the kernel, times its value, onto the output, and overlaps add up. It makes the output larger.",
};

export const UNITS = { input_size: "px", kernel_size: "weights", stride: "px", padding: "px", dilation: "px" };
