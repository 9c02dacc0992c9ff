/** @type {Map<string, number>} */
const known = new Map();
let context = /** @type {OffscreenCanvasRenderingContext2D | null} */ (null);
let digit = 1;
let family = "";

/**
 * Takes the measure of a font; texts are measured in it without the browser laying anything out.
 * @param {Element} element
 */
export function useFontOf(element) {
  const { fontFamily } = getComputedStyle(element);
  context ??= new OffscreenCanvas(1, 1).getContext("2d");
  if (!context || fontFamily === family) return;
  family = fontFamily;
  context.font = `100px ${fontFamily || "sans-serif"}`;
  known.clear();
  digit = context.measureText("0").width || 1;
}

/**
 * The width of a text, in digits.
 * @param {string} text
 */
export function width(text) {
  let found = known.get(text);
  if (found === undefined) {
    if (known.size > 20_000) known.clear();
    found = context ? context.measureText(text).width / digit : text.length;
    known.set(text, found);
  }
  return found;
}
