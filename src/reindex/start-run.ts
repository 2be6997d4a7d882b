/** Begins a run, or finds the one to go on with; and holds it, so that only one process coordinates. */
import { randomUUID } from "node:crypto";
import os from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { patiently } from "../cluster/patience.js";
import { vectorRecord, htmlRecord, pruningSchema } from "../config/document-identity.js";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { meanLength } from "../documents/mean-length.js";
import type { Encoder } from "../encoder/encoder.js";
import { ensureIndex, readIndexModel } from "../index/csplade-index.js";
import { prepareDeadLetters } from "./dead-letters.js";
import { prepareForLoad, readLastingSettings } from "./load-settings.js";
import { planRun, type PlanContext, type ReindexRequest, type RunPlan } from "./plan-run.js";
import type { RunRecord } from "./run-record.js";
import { sampleSlices } from "./sample-slices.js";
import { openRunStore, type RunStore } from "./run-store.js";

/** The unfinished run of the same source, alias and model, if there is one. */
export async function findUnfinished(
  store: RunStore,
  fingerprint: string,
  request: ReindexRequest,
): Promise<RunRecord | undefined> {
  const runs = await store.listRuns({ alias: request.alias });
  return runs.find(
    (run) =>
      run.state !== "done" &&
      run.state !== "rolled_back" &&
      run.model.fingerprint === fingerprint &&
      JSON.stringify(run.from) === JSON.stringify(request.from) &&
      (request.target === undefined || request.target === run.target),
  );
}

/** Plans a run, creates its index and records it. */
export async function beginRun(
  context: PlanContext,
  encoder: Encoder,
  store: RunStore,
  request: ReindexRequest,
): Promise<RunRecord> {
  await store.prepare();
  await prepareDeadLetters(context.cluster, context.patience);
  const plan = await planRun(context, request);
  await createTarget(context, plan, await meanLengthOf(context, encoder, plan));
  const restore = await readLastingSettings(context, plan.run.target);
  const run = { ...plan.run, restore };
  await prepareForLoad(context, run);
  // The slices first: a run that is recorded is whole.
  await store.addSlices(plan.slices);
  await store.createRun(run);
  return run;
}

/** Documents by whose lengths the mean is estimated. */
const MEASURED = 500;

/** The mean length of the new index's texts. */
async function meanLengthOf(
  context: PlanContext,
  encoder: Encoder,
  plan: RunPlan,
): Promise<number | undefined> {
  const { passages, reuse } = plan.run;
  if (passages !== "merged" || encoder.lexicon === undefined) return undefined;
  const { cluster, patience } = context;
  // Vectors can be taken over only where words weigh by the same length.
  const before =
    reuse === undefined
      ? undefined
      : await patiently(patience, () => readIndexModel(cluster, reuse));
  if (before?.mean_length !== undefined) return before.mean_length;
  const { documents } = await sampleSlices(context, plan, MEASURED);
  const texts = documents.map(({ text }) => text);
  return await meanLength(encoder, texts, patience.signal);
}

async function createTarget(
  { cluster, config, patience }: PlanContext,
  plan: RunPlan,
  mean_length: number | undefined,
): Promise<void> {
  const { run, inherit } = plan;
  await patiently(patience, () =>
    ensureIndex(cluster, {
      name: run.target,
      model: run.model,
      passages: run.passages,
      text_fields: run.text_fields,
      ...htmlRecord(run),
      title_field: run.title_field,
      pruning: pruningSchema.parse(run.encoding),
      ...vectorRecord(run),
      ...idFieldOf(plan),
      store_vectors: config["document.store_vectors"],
      ...(mean_length === undefined ? {} : { mean_length }),
      ...(inherit === undefined ? {} : { inherit }),
      ...(run.target_shards === undefined ? {} : { shards: run.target_shards }),
      signal: patience.signal,
    }),
  );
}

/** What gave the documents their ids: the files' field, or what the index that is copied records. */
function idFieldOf({ run, inherit }: RunPlan): { readonly id_field?: string } {
  if (run.source.type !== "index") return { id_field: run.id_field };
  const meta = z
    .object({ csplade: z.object({ id_field: z.string() }) })
    .safeParse(inherit?.mappings._meta);
  return meta.success ? { id_field: meta.data.csplade.id_field } : {};
}

/** How long a coordinator is believed to be alive after it was last heard of, milliseconds. */
const LEASE_MS = 30_000;

/** How long letting go of a run may take, milliseconds. */
const RELEASE_MS = 5_000;

/** Being the one coordinator of a run. */
export interface Lease {
  /** Fires when another one took over. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

/**
 * Becomes the coordinator of a run; waits while another one is alive.
 * @throws CspladeError `aborted` through the signal.
 */
export async function holdRun(
  store: RunStore,
  cluster: Cluster,
  config: Config,
  run: string,
  signal: AbortSignal,
  onWait: (owner: string) => void,
): Promise<Lease> {
  const owner = `${os.hostname()}:${process.pid}:${randomUUID().slice(0, 8)}`;
  const lost = new AbortController();
  let told = false;
  for (;;) {
    signal.throwIfAborted();
    const holder = (await extend(store, run, owner, "take")).coordinator?.owner;
    if (holder === owner) break;
    if (!told) onWait(holder ?? "");
    told = true;
    await sleep(1_000, undefined, { signal }).catch(() => {});
  }
  const timer = setInterval(() => {
    extend(store, run, owner, "keep")
      .then((record) => {
        if (record.coordinator?.owner === owner) return;
        lost.abort(new CspladeError("aborted", `Another process coordinates the run ${run} now.`));
      })
      .catch(() => {
        // The cluster is away; the lease runs on or out, and is looked at again.
      });
  }, LEASE_MS / 3);
  return {
    lost: lost.signal,
    async release() {
      clearInterval(timer);
      if (lost.signal.aborted) return;
      // The command's own signal may have fired: letting go is the last thing it does.
      const last = openRunStore(cluster, { config, signal: AbortSignal.timeout(RELEASE_MS) });
      await extend(last, run, owner, "release").catch(() => {});
    },
  };
}

async function extend(
  store: RunStore,
  run: string,
  owner: string,
  what: "take" | "keep" | "release",
): Promise<RunRecord> {
  return store.updateRun(run, (now) => {
    const { coordinator, ...rest } = now;
    const mine = coordinator?.owner === owner;
    const free = coordinator === undefined || Date.parse(coordinator.until) < Date.now();
    if (!mine && !(what === "take" && free)) return now;
    if (what === "release") return rest;
    return {
      ...rest,
      coordinator: { owner, until: new Date(Date.now() + LEASE_MS).toISOString() },
    };
  });
}
