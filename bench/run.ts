/**
 * Runs the benchmarks and renders what they found into bench/RESULTS.md.
 *
 *   npm run bench                            small and quick: minutes on a quiet machine
 *   npm run bench:full                       at full size: an hour or two
 *   npm run bench -- --only encoder,search   some of them; the others' results stay
 *   npm run bench -- --render                nothing is run, the page is made again
 *   npm run bench -- --cores 2,3             everything on these cores
 *   npm run bench -- --python FILE           a Python that has bench/requirements.txt
 *
 * Each benchmark writes its report (bench-report.ts) into bench/results/; the page is made of all
 * that lie there. A benchmark that fails leaves its last report, and the exit status is 1.
 */
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { format } from "prettier";
import { packageRoot } from "../src/config/package-root.js";
import { benchFlags } from "./bench-flags.js";
import { readReport } from "./bench-report.js";
import { resultsPage } from "./results-page.js";

interface Bench {
  readonly name: string;
  /** File of the program, where several benchmarks are one program. */
  readonly program?: string;
  /** Without it only full runs measure it. */
  readonly quick?: readonly string[];
  readonly full: readonly string[];
  /** It compares with PyTorch, which is made only for full runs unless a Python is named. */
  readonly wantsTorch?: true;
}

const benches: readonly Bench[] = [
  {
    name: "encoder",
    quick: ["--texts", "64", "--rounds", "6"],
    full: ["--texts", "192", "--rounds", "15"],
    wantsTorch: true,
  },
  {
    name: "search",
    quick: ["--documents", "20000", "--every", "16", "--questions", "60", "--rounds", "2"],
    full: ["--documents", "200000"],
  },
  {
    name: "search-million",
    program: "search",
    // SEISMIC's clusters and the libraries' indices take hours to make of a million documents.
    full: [
      ...["--documents", "1000000", "--turn-seconds", "1"],
      ...["--skip", "off-server,lean-index,pruned-index,seismic-index"],
    ],
  },
  {
    name: "index-size",
    // The picture in docs/ is of the full size.
    quick: [
      ...["--documents", "3000", "--every", "16", "--questions", "60"],
      ...["--svg", path.join(os.tmpdir(), "csplade-index-size.svg")],
    ],
    full: [],
  },
  {
    name: "growth",
    // The picture in docs/ is of the full sizes.
    quick: [
      ...["--sizes", "2000,6000,20000", "--length-documents", "20000", "--every", "16"],
      ...["--svg", path.join(os.tmpdir(), "csplade-growth.svg")],
    ],
    full: [],
  },
  {
    name: "gateway",
    quick: ["--seconds", "10"],
    full: ["--seconds", "30"],
  },
  { name: "reverse-dictionary", full: [] },
  {
    name: "reindex",
    quick: ["--rounds", "3", "--documents", "600", "--stub-documents", "8000"],
    full: ["--rounds", "9"],
  },
];

/** Longest a benchmark may take. */
const DEADLINE_MS = { quick: 1_800_000, full: 10_800_000 } as const;

const flags = benchFlags(import.meta.url, {
  full: { type: "boolean", default: false },
  only: { type: "string" },
  render: { type: "boolean", default: false },
  cores: { type: "string" },
  python: { type: "string" },
});
const only = flags.only?.split(",");
const unknown = only?.filter((name) => !benches.some((bench) => bench.name === name)) ?? [];
if (unknown.length > 0) {
  throw new Error(
    `There is no benchmark ${unknown.join(", ")}; there are ${benches.map((one) => one.name).join(", ")}.`,
  );
}
const results = path.join(packageRoot, "bench", "results");
await mkdir(results, { recursive: true });

for (const bench of flags.render ? [] : benches) {
  if (only !== undefined && !only.includes(bench.name)) continue;
  if (!flags.full && bench.quick === undefined) continue;
  process.stderr.write(`\n── ${bench.name} ──\n`);
  try {
    await measure(bench);
  } catch (thrown) {
    process.exitCode = 1;
    process.stderr.write(`${bench.name} FAILED: ${String(thrown)}\n`);
  }
}
await render();

/** Runs one benchmark to its end; its report replaces the last one only if it is whole. */
async function measure(bench: Bench): Promise<void> {
  const size = flags.full ? "full" : "quick";
  const folder = await mkdtemp(path.join(os.tmpdir(), "csplade-bench-"));
  try {
    const report = path.join(folder, "report.json");
    const program = [path.join(packageRoot, "dist", "bench", `${bench.program ?? bench.name}.js`)];
    const args = [...program, ...(bench[size] ?? []), "--json", report];
    if (bench.wantsTorch && flags.python !== undefined) args.push("--python", flags.python);
    else if (bench.wantsTorch && flags.full) args.push("--make-python");
    const command = flags.cores === undefined ? [] : ["taskset", "-c", flags.cores];
    const [first = "", ...rest] = [...command, process.execPath, ...args];
    const status = await new Promise<number>((resolve, reject) => {
      const child = spawn(first, rest, {
        stdio: ["ignore", 2, 2],
        timeout: DEADLINE_MS[size],
      });
      child.on("error", reject).on("close", (code) => resolve(code ?? -1));
    });
    if (status !== 0) throw new Error(`it ended with status ${status}.`);
    const text = JSON.stringify(readReport(report));
    const file = path.join(results, `${bench.name}.json`);
    await writeFile(file, await format(text, { parser: "json", printWidth: 100 }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function render(): Promise<void> {
  const names = (await readdir(results)).filter((name) => name.endsWith(".json"));
  const known = benches.map(({ name }) => `${name}.json`);
  names.sort((a, b) => known.indexOf(a) - known.indexOf(b));
  const page = resultsPage(names.map((name) => readReport(path.join(results, name))));
  const file = path.join(packageRoot, "bench", "RESULTS.md");
  const made = await format(page, { parser: "markdown", printWidth: 100 });
  const before = await readFile(file, "utf8").catch(() => "");
  if (made !== before) await writeFile(file, made);
  process.stderr.write(`${path.relative(process.cwd(), file)} holds ${names.length} reports\n`);
}
