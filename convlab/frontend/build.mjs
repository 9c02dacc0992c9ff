// Bundles the front end: every file directly in src/ becomes one file of the same name in static/.
// Parts that bundles share or are made of live in folders below src/, so nothing is listed twice.
import { readdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const entries = (await readdir(`${here}src`, { withFileTypes: true }))
  .filter((entry) => entry.isFile() && /\.(js|css)$/.test(entry.name))
  .map((entry) => `src/${entry.name}`);

const { metafile } = await esbuild.build({
  absWorkingDir: here,
  entryPoints: entries,
  outdir: "static",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  // Licences of what is bundled stay in the bundle.
  legalComments: "inline",
  logLevel: "warning",
  metafile: true,
});

// What an older source left behind goes after the new files stand: a running kernel always finds its bundle.
for (const name of await readdir(`${here}static`)) {
  if (!(`static/${name}` in metafile.outputs)) await rm(`${here}static/${name}`, { recursive: true });
}
