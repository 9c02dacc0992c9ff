/** Elements of the page. Text goes in as text nodes only, so that no value can become markup. */

let made = 0;

/** A name that no other element of the page has. @param {string} stem */
export function uniqueId(stem) {
  made += 1;
  return `convlab-${stem}-${made}`;
}

/** An HTML element. @param {string} tag @param {Record<string, any>} attributes @param {...(Node|string)} children */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. @param {string} tag @param {Record<string, any>} attributes @param {...(Node|string)} children */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children);
  return element;
}

/** A number as people write it: with a real minus. @param {number} value */
export function written(value) {
  return String(value).replace("-", "\u2212");
}
