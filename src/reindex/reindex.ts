/** A reindexing from start to end, with a worker in this process: what `csplade reindex` does. */
import { isDeepStrictEqual } from "node:util";
import type { Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";
import { openSliceQueue } from "../queue/slice-queue.js";
import type { FailureKind } from "../sources/failure-kinds.js";
import { coordinate, type RunProgress } from "./coordinate.js";
import { countDeadLetters } from "./dead-letters.js";
import type { PlanContext, ReindexRequest } from "./plan-run.js";
import { withProgressLog } from "./progress-log.js";
import type { RunGate, RunRecord, SliceCounts, Verification } from "./run-record.js";
import { demandSourceOf } from "./remote-source.js";
import { openRunStore, type RunStore } from "./run-store.js";
import { startReindexWorker } from "./slice-worker.js";
import { verifyRun } from "./verify-run.js";
import { beginRun, findUnfinished, holdRun } from "./start-run.js";

/** What is reindexed, and how. */
export interface ReindexOptions {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  /** A run to go on with; or a source and an alias (`new`: although an unfinished run is there). */
  readonly what: { readonly resume: string } | (ReindexRequest & { readonly new?: boolean });
  /** Work in this process (the default), or leave the slices to `csplade worker` processes. */
  readonly work?: boolean;
  /** Move the alias at the end (the default). */
  readonly swap?: boolean;
  /** Check the new index before the alias moves (the default). */
  readonly verify?: boolean;
  /**
   * What the new index has to show, kept in the run's record; null: nothing any more. Without it what
   * the record of a run that is gone on with says.
   */
  readonly gate?: RunGate | null;
  /** Opens what judges by a gate. A run that has one does not begin without it. */
  readonly openJudge?: (gate: RunGate) => Promise<Judge>;
  /** After the swap, go on copying what changes until the signal fires. */
  readonly follow?: boolean;
  /** Catch up until a pass takes less, seconds; 10 without it. */
  readonly maxLagSeconds?: number;
  readonly metrics: WorkerMetrics;
  readonly onProgress?: (progress: RunProgress) => void;
  readonly onStep?: (message: string) => void;
  /** Called with what was survived. */
  readonly onTrouble?: (message: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Puts judged questions to a new index, after the verification. Lines for people.
 * @throws CspladeError `quality_too_low`: the alias stays where it is.
 */
export type Judge = (target: string) => Promise<readonly string[]>;

/** How a run ended. */
export interface RunSummary extends SliceCounts {
  readonly run: string;
  readonly state: RunRecord["state"];
  readonly alias: string;
  /** The new index. */
  readonly target: string;
  /** What the alias led to before. */
  readonly previous: readonly string[];
  /** Ids of the first truncated documents. */
  readonly truncated_ids: readonly string[];
  readonly verification: Verification | null;
  /** The dead letters by their code. */
  readonly failures: readonly FailureKind[];
  readonly seconds: number;
}

/** How long running slices may take to come to a checkpoint when the command stops, milliseconds. */
const DRAIN_MS = 25_000;

/** Documents looked at and encoded again to verify a run. */
const SAMPLE = 200;

/**
 * Begins a run, or goes on with one, and brings it to its end.
 * @throws CspladeError as its parts do; `device_failed` once nothing can be encoded here, and the run
 *   can be resumed. Documents that cannot be taken are counted, not thrown.
 */
export async function reindex(options: ReindexOptions): Promise<RunSummary> {
  const { config, cluster, encoder, metrics } = options;
  const started = performance.now();
  const closers: (() => Promise<void>)[] = [];
  const lost = new AbortController();
  const signal = AbortSignal.any([options.signal, lost.signal, encoder.broken]);
  const say = options.onStep ?? (() => {});
  const patience = { config, cluster, signal, onTrouble: options.onTrouble };
  try {
    const store = openRunStore(cluster, patience);
    const queue = await openSliceQueue(config, encoder.manifest.fingerprint);
    closers.push(() => queue.close());
    const context = { config, cluster, manifest: encoder.manifest, patience };
    const run = await chooseRun(context, encoder, store, options, say);
    const lease = await holdRun(store, cluster, config, run.run, signal, (owner) =>
      say(`Waiting for ${owner}, which coordinates the run ${run.run}.`),
    );
    closers.push(() => lease.release());
    lease.lost.addEventListener("abort", () => lost.abort(lease.lost.reason));
    const judge = await judgeOf(await withGate(store, run, options.gate), options);
    if (options.work !== false) {
      const { onTrouble } = options;
      const worker = await startReindexWorker({ config, cluster, encoder, metrics, onTrouble });
      closers.push(() => worker.close(DRAIN_MS));
    }
    const done = await coordinate(
      {
        config,
        cluster,
        store,
        queue,
        patience,
        maxLagSeconds: options.maxLagSeconds ?? 10,
        verify:
          options.verify === false
            ? undefined
            : (now) => verifyRun({ cluster, config, encoder, patience, sample: SAMPLE }, now),
        judge,
        swap: options.swap !== false,
        follow: options.follow === true,
        onProgress: withProgressLog(store, options.onProgress),
        onStep: say,
      },
      run.run,
    );
    const { counts } = await store.totals(run.run);
    return {
      run: done.run,
      state: done.state,
      alias: done.alias,
      target: done.target,
      previous: done.previous ?? [],
      ...counts,
      truncated_ids: counts.truncated > 0 ? await store.truncatedIds(run.run) : [],
      verification: done.verification ?? null,
      failures: counts.dead_letters > 0 ? await countDeadLetters(cluster, patience, run.run) : [],
      seconds: (performance.now() - started) / 1_000,
    };
  } catch (thrown) {
    throw encoder.broken.aborted && !options.signal.aborted ? encoder.broken.reason : thrown;
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

/** The run as it is now that nobody else changes it, with the gate that is asked for in its record. */
async function withGate(
  store: RunStore,
  { run }: RunRecord,
  gate: RunGate | null | undefined,
): Promise<RunRecord> {
  const { record } = await store.readRun(run);
  if (gate === undefined || isDeepStrictEqual(record.gate ?? null, gate)) return record;
  return store.updateRun(run, (now) => {
    if (gate !== null) return { ...now, gate };
    const ungated = { ...now };
    delete ungated.gate;
    return ungated;
  });
}

/**
 * What judges the run's new index; nothing where it has no gate, or has passed it.
 * @throws CspladeError that of opening it: no work is done for a swap that will be refused.
 */
async function judgeOf(
  { run, gate, previous, state }: RunRecord,
  { openJudge, gate: asked }: Pick<ReindexOptions, "openJudge" | "gate">,
): Promise<Judge | undefined> {
  const over = previous !== undefined || state === "done" || state === "rolled_back";
  if (gate === undefined || over) return undefined;
  if (openJudge === undefined) {
    throw new CspladeError("usage", `The run ${run} is to be judged by ${gate.judgements}.`, {
      hint: `Go on with it where that can be done: csplade reindex --resume ${run}`,
    });
  }
  try {
    return await openJudge(gate);
  } catch (thrown) {
    if (!(thrown instanceof CspladeError) || asked != null) throw thrown;
    throw new CspladeError(
      thrown.code,
      `The run ${run} is to be judged by ${gate.judgements}, which cannot be done: ${thrown.message}`,
      {
        hint: "The alias was not moved. Bring the files back, name others with --judgements FOLDER, or go on unjudged with --no-judgements.",
        cause: thrown,
      },
    );
  }
}

async function chooseRun(
  context: PlanContext,
  encoder: Encoder,
  store: RunStore,
  { what, gate }: Pick<ReindexOptions, "what" | "gate">,
  say: (message: string) => void,
): Promise<RunRecord> {
  if ("resume" in what) {
    const { record } = await store.readRun(what.resume);
    demandSourceOf(record, context.cluster);
    return record;
  }
  const { fingerprint } = context.manifest;
  const unfinished = what.new ? undefined : await findUnfinished(store, fingerprint, what);
  if (unfinished !== undefined) {
    demandSameShards(unfinished, what);
    demandSourceOf(unfinished, context.cluster);
    say(`Going on with the run ${unfinished.run} (--new begins a new one).`);
    return unfinished;
  }
  const asked = gate == null ? what : { ...what, gate };
  const run = await beginRun(context, encoder, store, asked);
  const [pass] = run.passes;
  say(
    `Run ${run.run}: ${pass?.documents ?? 0} documents in ${pass?.slices ?? 0} slices → ${run.target}.`,
  );
  return run;
}

/** @throws CspladeError `usage`: the new index is there already, with the shards it was planned with. */
function demandSameShards({ run, target, target_shards }: RunRecord, { shards }: ReindexRequest) {
  if (shards === undefined || shards === target_shards) return;
  throw new CspladeError(
    "usage",
    `The run ${run} goes on into ${target}, which has ${target_shards ?? "another number of"} shards, not ${shards}.`,
    { hint: "Leave --shards out to go on with it, or begin a new run with --new." },
  );
}
