/** `csplade eval --compare A B`: two results over the same judgements, and what changed. */
import path from "node:path";
import pc from "picocolors";
import { CspladeError } from "../errors/csplade-error.js";
import { readCollection } from "../evaluate/beir.js";
import {
  compareResults,
  type ChangedQuery,
  type ResultComparison,
} from "../evaluate/compare-results.js";
import type { MetricName } from "../evaluate/metrics.js";
import { readResults } from "../evaluate/saved-evaluation.js";
import { pPhrase } from "../evaluate/significance.js";
import { round } from "./eval-output.js";
import { printJson, printLine } from "./outcome.js";

/** Queries shown to people; JSON has all. */
const SHOWN_QUERIES = 10;

/** What is compared, from the command line. */
export interface CompareFlags {
  /** Run files or saved evaluations, two. */
  readonly compare: readonly string[];
  /** The collection: needed for run files. */
  readonly data?: string;
  readonly metrics?: readonly MetricName[];
  readonly json?: true;
}

/**
 * Compares and prints.
 * @throws CspladeError `usage` for other than two names, `file_invalid`, `source_unreadable`.
 */
export async function compareFiles(flags: CompareFlags): Promise<void> {
  const [first, second, ...more] = flags.compare;
  if (first === undefined || second === undefined || more.length > 0) {
    throw new CspladeError("usage", `--compare takes two files, not ${flags.compare.length}.`, {
      hint: "Such as: csplade eval --data ./scifact --compare before.run after.run",
    });
  }
  const collection = flags.data === undefined ? undefined : await readCollection(flags.data);
  const judgements =
    collection === undefined ? undefined : { ...collection, metrics: flags.metrics ?? [] };
  const before = await readResults(first, judgements);
  const after = await readResults(second, judgements);
  const comparison = compareResults(before.results, after.results);
  const texts = new Map([
    ...Object.entries(before.saved?.queries ?? after.saved?.queries ?? {}),
    ...(collection?.queries ?? []).map(({ id, text }) => [id, text] as const),
  ]);
  const dataset = collection?.name ?? before.saved?.dataset ?? "";
  if (flags.json) printJson(jsonOf(dataset, [first, second], comparison, texts));
  else printComparison(dataset, [first, second], comparison, texts);
}

function jsonOf(
  dataset: string,
  [first, second]: readonly [string, string],
  { queries, metrics, changed }: ResultComparison,
  texts: ReadonlyMap<string, string>,
) {
  return {
    dataset,
    queries,
    first,
    second,
    metrics: Object.fromEntries(
      Array.from(metrics, ([name, values]) => [
        name,
        {
          ...values,
          first: round(values.first, 4),
          second: round(values.second, 4),
          difference: round(values.difference, 4),
          p_value: round(values.p_value, 4),
        },
      ]),
    ),
    changed: changed.map(({ query, ...values }) => ({
      query,
      text: texts.get(query),
      first: round(values.first, 4),
      second: round(values.second, 4),
      difference: round(values.difference, 4),
    })),
  };
}

function printComparison(
  dataset: string,
  [first, second]: readonly [string, string],
  { queries, metrics, changed }: ResultComparison,
  texts: ReadonlyMap<string, string>,
): void {
  const [a, b] = shortNames(first, second);
  const width = Math.max(10, a.length + 2, b.length + 2);
  printLine(`${pc.bold(dataset)}: ${queries} queries; ${b} against ${a}`);
  printLine(
    pc.dim(
      `${"".padEnd(14)}${a.padStart(width)}${b.padStart(width)}` +
        `${"change".padStart(10)}${"p".padStart(9)}   better/worse/same`,
    ),
  );
  for (const [name, values] of metrics) {
    const { difference, p_value, wins, losses, ties } = values;
    const cells = [
      name.padEnd(14),
      values.first.toFixed(4).padStart(width),
      pc.cyan(values.second.toFixed(4).padStart(width)),
      signed(difference).padStart(10),
      pPhrase(p_value)
        .replace(/^p (= )?/, "")
        .padStart(9),
    ];
    printLine(`${cells.join("")}   ${wins}/${losses}/${ties}`);
  }
  printLine(pc.dim("p: paired randomization test, two-sided"));
  if (changed.length === 0) {
    printLine("nDCG@10 is the same on every query.");
    return;
  }
  printLine(`\nThe queries whose nDCG@10 changed most (${changed.length} changed):`);
  for (const one of changed.slice(0, SHOWN_QUERIES)) printLine(changedLine(one, texts));
}

function changedLine(
  { query, first, second, difference }: ChangedQuery,
  texts: ReadonlyMap<string, string>,
): string {
  const text = (texts.get(query) ?? "").replace(/\s+/g, " ").trim();
  const shown = text.length > 60 ? `${text.slice(0, 59)}…` : text;
  const color = difference < 0 ? pc.red : pc.green;
  return (
    `  ${color(signed(difference))}  ${first.toFixed(4)} → ${second.toFixed(4)}  ` +
    `${query.padEnd(6)} ${pc.dim(shown)}`
  );
}

/** File names without their folders, unless these alone tell them apart. */
function shortNames(first: string, second: string): [string, string] {
  const [a, b] = [path.basename(first), path.basename(second)];
  return a === b ? [first, second] : [a, b];
}

function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
}
