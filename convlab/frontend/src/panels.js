// What all panels share comes in as a widget that shows nothing: see convlab/frontend/style.py.
import { keepKeys } from "./shared/keys.js";

export default {
  initialize: () => keepKeys(document, ".convlab"),
  render: () => {},
};
