/**
 * What a benchmark found, as a JSON file: figures for machines, tables for people, and the machine,
 * versions and commit they belong to. Every benchmark takes `--json FILE` and writes one;
 * `npm run bench` renders them all into bench/RESULTS.md.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { z } from "zod";
import { packageRoot } from "../src/config/package-root.js";

const tableSchema = z.object({
  title: z.string(),
  /** Headings; those of numbers end in `:` as in Markdown's alignment row, and are set right. */
  columns: z.array(z.string()).min(1),
  rows: z.array(z.array(z.string())),
  /** Sentences below the table: what it shows, what was not as it should be. */
  notes: z.array(z.string()).default([]),
});

const machineSchema = z.object({
  date: z.string(),
  cpu: z.string(),
  /** Cores this process may use. */
  cores: z.number(),
  memory_gb: z.number(),
  /** Mean number of processes that wanted a core in the minute before the benchmark began. */
  load_before: z.number(),
  node: z.string(),
  /** Versions of what was measured, by name. */
  versions: z.record(z.string(), z.string()),
  commit: z.string(),
});

const reportSchema = z.object({
  format: z.literal(1),
  /** Short name, such as `encoder`. */
  bench: z.string(),
  title: z.string(),
  /** What anyone types to measure it again. */
  command: z.string(),
  machine: machineSchema,
  tables: z.array(tableSchema),
  /** Whatever the benchmark measured, unrounded. */
  figures: z.unknown(),
});

/** A table as it is shown. */
export type BenchTable = z.input<typeof tableSchema>;

/** Machine, versions and commit of a run. */
export type BenchMachine = z.infer<typeof machineSchema>;

/** What one benchmark found. */
export type BenchReport = z.input<typeof reportSchema>;

/** Describes this machine; call it before measuring, so that the load is that of others. */
export function describeMachine(versions: Readonly<Record<string, string>> = {}): BenchMachine {
  return {
    date: new Date().toISOString(),
    cpu: os.cpus()[0]?.model.trim() ?? "unknown",
    cores: os.availableParallelism(),
    memory_gb: Math.round(os.totalmem() / 2 ** 30),
    load_before: Number((os.loadavg()[0] ?? 0).toFixed(2)),
    node: process.versions.node,
    versions: { ...versions },
    commit: commitOfTree(),
  };
}

/** Short commit id, with `+` where files differ from it; `unknown` outside a repository. */
function commitOfTree(): string {
  const git = (...args: string[]) => {
    const end = spawnSync("git", args, { cwd: packageRoot, encoding: "utf8", timeout: 10_000 });
    return end.status === 0 ? end.stdout.trim() : undefined;
  };
  const commit = git("rev-parse", "--short", "HEAD");
  if (commit === undefined) return "unknown";
  return git("status", "--porcelain", "--untracked-files=no") === "" ? commit : `${commit}+`;
}

/** Version of an installed package of this project's. */
export function packageVersion(name: string): string {
  const file = path.join(packageRoot, "node_modules", name, "package.json");
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(file, "utf8"))).version;
}

/** Flags that name a place on this machine, or what is kept there. */
const LOCAL_FLAGS = new Set(["--json", "--svg", "--folder", "--python", "--opensearch", "--model"]);

/**
 * What anyone types to run this program again as it runs now.
 * @param script its script of package.json.
 * @param typed its arguments.
 */
export function commandOf(script: string, typed = process.argv.slice(2)): string {
  const told = typed.filter(
    (word, place) =>
      word !== "--keep" && !LOCAL_FLAGS.has(word) && !LOCAL_FLAGS.has(typed[place - 1] ?? ""),
  );
  const words = told.map((word) => (path.isAbsolute(word) ? path.basename(word) : word));
  return [`npm run ${script}`, ...(words.length === 0 ? [] : ["--", ...words])].join(" ");
}

/** Writes a report where `--json FILE` says. */
export async function writeReport(file: string, report: BenchReport): Promise<void> {
  await writeFile(file, `${JSON.stringify(reportSchema.parse(report), undefined, 2)}\n`);
}

/** Reads a report; throws if the file is none. */
export function readReport(file: string): z.infer<typeof reportSchema> {
  return reportSchema.parse(JSON.parse(readFileSync(file, "utf8")));
}

/** A table in Markdown, with its notes. */
export function markdownTable({ columns, rows, notes = [] }: BenchTable): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const lines = [
    line(columns.map((name) => name.replace(/:$/, ""))),
    line(columns.map((name) => (name.endsWith(":") ? "---:" : "---"))),
    ...rows.map(line),
  ];
  return [lines.join("\n"), ...notes].join("\n\n");
}

/** One line that says where and on what a report was made. */
export function machineLine({ machine }: Pick<BenchReport, "machine">): string {
  const { cpu, cores, memory_gb, load_before, node, versions, commit, date } = machine;
  const others = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return (
    `${cores} cores of ${cpu}, ${memory_gb} GB; load ${load_before} before it began; ` +
    `${[`Node ${node}`, ...others].join(", ")}; commit ${commit}; ${date.slice(0, 16).replace("T", " ")} UTC`
  );
}
