// Writes what the playground ships of other people's work into the folder named by the first argument: fal's client as
// one ESM file, two fonts as they are, and the licences of all of it. The same lock file gives the same bytes. A version
// is part of each name, so that browsers may keep the file for good.
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const packages = join(here, "node_modules");
const target = process.argv[2] && resolve(process.argv[2]);
if (!target) throw new Error("usage: node build.mjs FOLDER");

const BUNDLED = ["@fal-ai/client", "@msgpack/msgpack", "eventsource-parser", "robot3"];
const FONTS = ["geist", "geist-mono"];

const manifest = async (name) => JSON.parse(await readFile(join(packages, name, "package.json"), "utf8"));

async function licence(name) {
  const { version, license } = await manifest(name);
  // The npm package of robot3 has no copy of its licence; this one is its repository's.
  const file = name === "robot3" ? join(here, "robot3.LICENSE") : join(packages, name, "LICENSE");
  const text = (await readFile(file, "utf8")).replaceAll("\r\n", "\n").trim();
  return `${name} ${version} (${license})\n${"-".repeat(72)}\n${text}\n`;
}

await mkdir(target, { recursive: true });
const { version } = await manifest("@fal-ai/client");
await build({
  absWorkingDir: here,
  entryPoints: ["client.js"],
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  banner: {
    js: `/* @fal-ai/client ${version} and what it needs, bundled. Licences: LICENSES.txt beside this file. */`,
  },
  outfile: join(target, `fal-client-${version}.js`),
  logLevel: "warning",
});
for (const font of FONTS) {
  const name = `@fontsource-variable/${font}`;
  await copyFile(
    join(packages, name, "files", `${font}-latin-wght-normal.woff2`),
    join(target, `${font}-${(await manifest(name)).version}.woff2`),
  );
}
const names = [...BUNDLED, ...FONTS.map((font) => `@fontsource-variable/${font}`)];
await writeFile(join(target, "LICENSES.txt"), (await Promise.all(names.map(licence))).join("\n\n"));
