/**
 * Holding a source's writes for the moment of the swap. Where the alias leads to the source itself,
 * its writers go over to the new index with it; what they wrote must be copied before they do, and
 * nothing may be copied after. So for the last pass the source takes no writes (403).
 */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { pathOf } from "../cluster/request.js";
import type { Config } from "../config/settings.js";
import type { RunRecord } from "./run-record.js";
import { openRunStore, type RunStore } from "./run-store.js";

/** What holding needs. */
export interface HoldContext {
  readonly cluster: Cluster;
  readonly config: Config;
  readonly store: RunStore;
  readonly patience: Patience;
}

/** How long letting go may take after the command was stopped, milliseconds. */
const RELEASE_MS = 10_000;

const settingsSchema = z.record(
  z.string(),
  z.object({ settings: z.record(z.string(), z.unknown()) }),
);

/**
 * Blocks the writes of an index and waits for those under way. The run's record says so first: whoever
 * goes on with the run lets go. An index that its owner has blocked is left as it is.
 */
export async function holdWrites(
  { cluster, store, patience }: HoldContext,
  run: RunRecord,
  index: string,
): Promise<RunRecord> {
  const path = pathOf(index, "_settings");
  const body = await patiently(patience, () =>
    cluster.demand(
      { method: "GET", path, query: { flat_settings: true } },
      `Looking at the blocks of ${index}`,
    ),
  );
  const settings = settingsSchema.parse(body)[index]?.settings ?? {};
  const names = ["write", "read_only"].map((name) => `index.blocks.${name}`);
  if (names.some((name) => settings[name] === "true")) return run;
  const hold = { index, since: new Date().toISOString() };
  const held = await store.updateRun(run.run, (now) => ({ ...now, hold }));
  await patiently(patience, () =>
    cluster.demand(
      { method: "PUT", path: pathOf(index, "_block", "write") },
      `Holding the writes of ${index}`,
    ),
  );
  return held;
}

/** Lets the writes of a held index go on; also after the command was stopped. */
export async function releaseWrites(context: HoldContext, run: RunRecord): Promise<RunRecord> {
  const { record } = await context.store.readRun(run.run);
  const { hold, ...free } = record;
  if (hold === undefined) return record;
  await lift(context, hold.index);
  return context.store.updateRun(free.run, (now) => {
    const { hold: over, ...rest } = now;
    return over === undefined ? now : rest;
  });
}

/** {@link releaseWrites} whatever has become of the command's own signal. */
export async function releaseAtLast(context: HoldContext, run: RunRecord): Promise<void> {
  const { cluster, config } = context;
  const patience = { ...context.patience, config, signal: AbortSignal.timeout(RELEASE_MS) };
  const store = openRunStore(cluster, patience);
  await releaseWrites({ cluster, config, patience, store }, run);
}

async function lift({ cluster, patience }: HoldContext, index: string): Promise<void> {
  await patiently(patience, async () => {
    const answer = await cluster.send({ method: "HEAD", path: pathOf(index) });
    if (answer.status === 404) return;
    const body = { index: { blocks: { write: null } } };
    await cluster.demand(
      { method: "PUT", path: pathOf(index, "_settings"), body },
      `Letting the writes of ${index} go on`,
    );
  });
}
