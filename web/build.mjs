// Bundles the page into scripts and one style sheet, named by their content, and writes index.html. What is
// imported with `import()` (settings, administration, the arena …) is a script of its own, fetched when needed.
//   node build.mjs [--out FOLDER]     the page (default: dist/page)
//   node build.mjs --tests            bundles and runs the tests of the pure functions with node's own test runner
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
process.chdir(here);

const shared = { bundle: true, jsx: "automatic", jsxImportSource: "preact", logLevel: "warning" };

if (process.argv.includes("--tests")) {
  const tests = (await readdir("tests")).filter((name) => /\.test\.tsx?$/.test(name));
  await rm("dist/tests", { recursive: true, force: true });
  await build({
    ...shared,
    entryPoints: tests.map((name) => join("tests", name)),
    outdir: "dist/tests",
    outExtension: { ".js": ".mjs" },
    platform: "node",
    format: "esm",
    external: ["node:*"],
  });
  const files = tests.map((name) => join("dist/tests", name.replace(/\.tsx?$/, ".mjs")));
  process.exitCode = spawnSync(process.execPath, ["--test", ...files], { stdio: "inherit" }).status ?? 1;
} else {
  const at = process.argv.indexOf("--out");
  const out = at > 0 ? process.argv[at + 1] : "dist/page";
  await rm(out, { recursive: true, force: true });
  await mkdir(join(out, "assets"), { recursive: true });
  const result = await build({
    ...shared,
    entryPoints: { app: "src/main.tsx" },
    outdir: join(out, "assets"),
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    format: "esm",
    splitting: true,
    target: ["es2022", "chrome111", "firefox114", "safari16.4"],
    minify: true,
    legalComments: "none",
    metafile: true,
  });
  // A script of its own that the browser waits for before it draws: a few lines, with nothing of the rest.
  const first = await build({
    ...shared,
    entryPoints: { first: "src/first.ts" },
    outdir: join(out, "assets"),
    entryNames: "[name]-[hash]",
    format: "iife",
    target: ["es2022"],
    minify: true,
    metafile: true,
  });
  const outputs = Object.entries(result.metafile.outputs);
  const [entry, { cssBundle, imports }] = outputs.find(([, output]) => output.entryPoint === "src/main.tsx");
  const address = (path) => `/assets/${basename(path)}`;
  // What the first script imports is asked for with it, not after it.
  const preloads = imports
    .filter((one) => one.kind === "import-statement")
    .map((one) => `    <link rel="modulepreload" href="${address(one.path)}" />\n`);
  const page = await readFile("src/index.html", "utf8");
  await writeFile(
    join(out, "index.html"),
    page
      .replace("    {preloads}\n", preloads.join(""))
      .replace("{first}", address(Object.keys(first.metafile.outputs)[0]))
      .replace("{script}", address(entry))
      .replace("{style}", address(cssBundle)),
  );
  for (const file of await readdir(join(out, "assets"))) {
    // Compressed here and once, so that the server has only to send it.
    const plain = await readFile(join(out, "assets", file));
    await writeFile(join(out, "assets", `${file}.gz`), gzipSync(plain, { level: 9 }));
  }
  await copyFile("src/favicon.svg", join(out, "favicon.svg"));
  await writeFile(join(out, "THIRD_PARTY.txt"), await licences(result.metafile));
}

// What is bundled keeps its licence with it.
async function licences(metafile) {
  const names = new Set();
  for (const path of Object.keys(metafile.inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path);
    if (found) names.add(found[1]);
  }
  const texts = [];
  for (const name of [...names].sort()) {
    const folder = join("node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? await readFile(join(folder, file), "utf8") : "";
    texts.push(`${name} ${version} (${license})\n\n${text.trim()}\n`);
  }
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}
