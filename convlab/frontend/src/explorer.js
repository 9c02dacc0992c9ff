// The convolution explorer in a notebook (convlab/frontend/explorer.py).
import { Explorer } from "./explorer/explorer.js";

function render({ model, el }) {
  const explorer = new Explorer(model);
  el.append(explorer.element);
  return () => explorer.remove();
}

export default { render };
