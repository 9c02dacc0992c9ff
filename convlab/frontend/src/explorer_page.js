// The convolution explorer on a page of its own, with no kernel (`ConvExplorer.to_html`).
import { Explorer } from "./explorer/explorer.js";
import { LocalModel } from "./explorer/local_model.js";

const state = JSON.parse(document.getElementById("convlab-state").textContent);
// JupyterLab tells a theme by this attribute; here the reader's own preference decides.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.body.setAttribute("data-jp-theme-light", String(!dark.matches));
dark.addEventListener("change", follow);
follow();
document.getElementById("convlab-explorer").append(new Explorer(new LocalModel(state)).element);
