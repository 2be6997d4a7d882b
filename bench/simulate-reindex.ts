/**
 * Simulates the reindex of 100 million documents and prints the tables of docs/scale.md.
 *
 *   node dist/bench/simulate-reindex.js [--rates FILE] [--write | --check]
 *
 * --rates  other rates than bench/reindex-rates.json (yours)
 * --write  put the tables into docs/scale.md
 * --check  status 1 if docs/scale.md has other tables
 */
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { format } from "prettier";
import { packageRoot } from "../src/config/package-root.js";
import { benchFlags } from "./bench-flags.js";
import { readRates, valuesOf, type Rate } from "./reindex-rates.js";
import {
  calm,
  simulateReindex,
  type Failures,
  type ReindexOutcome,
  type ReindexRates,
} from "./reindex-simulation.js";

const SEEDS = 3;

/** A bad week, every day of it. */
const rough: Failures = {
  worker_crashes_per_day: 2,
  node_losses_per_day: 1,
  redis_outages_per_day: 4,
  redis_outage_seconds: 300,
  cluster_outages_per_day: 2,
  cluster_outage_seconds: 900,
  busy_storms_per_day: 24,
  busy_storm_seconds: 120,
};

const spot: Failures = { ...calm, node_losses_per_day: 12 };

interface Row {
  readonly name: string;
  readonly workers: number;
  readonly failures: Failures;
  readonly rates?: Partial<ReindexRates>;
}

const rows: readonly Row[] = [
  { name: "nothing fails", workers: 16, failures: calm },
  { name: "everything fails (below)", workers: 16, failures: rough },
  { name: "spot nodes, each lost every 2 h", workers: 16, failures: spot },
  { name: "4 workers", workers: 4, failures: rough },
  { name: "64 workers", workers: 64, failures: rough },
  { name: "a cluster of 1 data node", workers: 16, failures: rough, rates: { cluster_nodes: 1 } },
  {
    name: "slices of 1,000 documents",
    workers: 16,
    failures: rough,
    rates: { slice_documents: 1_000 },
  },
];

const rateNames: Readonly<Record<keyof ReindexRates, string>> = {
  documents: "documents in the source",
  tokens_per_document: "tokens of a document",
  worker_tokens_per_second: "tokens a worker encodes per second",
  slice_documents: "documents in a slice",
  slices_per_worker: "slices a worker has at once",
  checkpoint_seconds: "work that a crash undoes, at most",
  lock_seconds: "until a lost worker's slice is taken again",
  patience_seconds: "writes wait for a cluster that is away",
  redis_bytes_per_slice: "Redis memory of a queued slice",
  redis_base_bytes: "Redis memory without any",
  bulk_bytes_per_document: "bytes of a document in a bulk request",
  cluster_documents_per_second_per_node: "documents a data node takes per second",
  cluster_nodes: "data nodes",
  worker_start_seconds: "start of a worker on a node",
  node_start_seconds: "start of a GPU node",
  source_changes_per_second: "changes of the source meanwhile",
  gpu_node_price_per_hour: "price of a GPU node",
};

/** The median outcome, by duration, of some seeds. */
function typical(rates: ReindexRates, { workers, failures, rates: other }: Row): ReindexOutcome {
  const outcomes = Array.from({ length: SEEDS }, (_, seed) =>
    simulateReindex({ ...rates, ...other }, { workers, failures, seed }),
  ).sort((a, b) => a.seconds - b.seconds);
  return outcomes[Math.floor(SEEDS / 2)] as ReindexOutcome;
}

function tables(file: Readonly<Record<keyof ReindexRates, Rate>>): string {
  const rates = valuesOf(file);
  const lines = [
    "| scenario | hours | documents/s | done twice | lost workers | cluster sets the pace | bulk, at most | Redis, at most | node hours | cost |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
  ];
  for (const row of rows) {
    const one = typical(rates, row);
    if (one.settled !== rates.documents + one.changed)
      throw new Error(`${row.name}: lost documents`);
    const cells = [
      row.name,
      (one.seconds / 3_600).toFixed(1),
      whole(one.settled / one.seconds),
      `${((100 * one.repeated) / one.settled).toFixed(2)} %`,
      whole(one.crashes + one.node_losses),
      `${(100 * one.cluster_bound_share).toFixed(0)} %`,
      `${(one.peak_bulk_bytes_per_second / 1e6).toFixed(1)} MB/s`,
      `${(one.redis_peak_bytes / 1e6).toFixed(1)} MB`,
      whole(one.node_hours),
      `$${whole(one.cost)}`,
    ];
    lines.push(`| ${cells.join(" | ")} |`);
  }
  lines.push("", "Driven by:", "", "| rate | value | from |", "| --- | ---: | --- |");
  for (const [name, label] of Object.entries(rateNames)) {
    const { value, unit, basis } = file[name as keyof ReindexRates];
    lines.push(`| ${label} | ${value.toLocaleString("en")} ${unit} | ${basis} |`);
  }
  return lines.join("\n");
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}

const flags = benchFlags(import.meta.url, {
  rates: { type: "string" },
  write: { type: "boolean" },
  check: { type: "boolean" },
});
const made = tables(await readRates(flags.rates));
const scale = path.join(packageRoot, "docs", "scale.md");
const [begin, end] = ["<!-- simulate-reindex: begin -->", "<!-- simulate-reindex: end -->"];
if (flags.write === true || flags.check === true) {
  const before = await readFile(scale, "utf8");
  const inside = new RegExp(`${begin}[^]*${end}`);
  if (!inside.test(before)) throw new Error(`${scale} has no place for the tables (${begin})`);
  const after = await format(
    before.replace(inside, () => `${begin}\n\n${made}\n\n${end}`),
    { parser: "markdown", printWidth: 100 },
  );
  if (flags.write === true) await writeFile(scale, after);
  else if (after !== before) {
    process.stdout.write(
      "docs/scale.md has other tables: node dist/bench/simulate-reindex.js --write\n",
    );
    process.exitCode = 1;
  }
} else process.stdout.write(made + "\n");
