/** The file of rates that drives the simulator: values with their units and where they are from. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { packageRoot } from "../src/config/package-root.js";
import type { ReindexRates } from "./reindex-simulation.js";

const rateSchema = z.strictObject({
  value: z.number().min(0),
  unit: z.string(),
  /** Measured by which command, a default of which setting, or assumed and why. */
  basis: z.string().min(1),
});

/** One rate. */
export type Rate = z.infer<typeof rateSchema>;

const names = [
  "documents",
  "tokens_per_document",
  "worker_tokens_per_second",
  "slice_documents",
  "slices_per_worker",
  "checkpoint_seconds",
  "lock_seconds",
  "patience_seconds",
  "redis_bytes_per_slice",
  "redis_base_bytes",
  "bulk_bytes_per_document",
  "cluster_documents_per_second_per_node",
  "cluster_nodes",
  "worker_start_seconds",
  "node_start_seconds",
  "source_changes_per_second",
  "gpu_node_price_per_hour",
] as const satisfies readonly (keyof ReindexRates)[];

/** Where the rates are kept. */
export const ratesFile = path.join(packageRoot, "bench", "reindex-rates.json");

/** Reads and checks a file of rates. */
export async function readRates(file = ratesFile): Promise<Record<keyof ReindexRates, Rate>> {
  const text = await readFile(file, "utf8");
  return z.record(z.enum(names), rateSchema).parse(JSON.parse(text));
}

/** The bare values. */
export function valuesOf(rates: Readonly<Record<keyof ReindexRates, Rate>>): ReindexRates {
  return Object.fromEntries(
    names.map((name) => [name, rates[name].value]),
  ) as unknown as ReindexRates;
}
