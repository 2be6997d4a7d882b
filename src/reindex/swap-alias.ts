/**
 * The swap. Before it nobody but the run writes to the new index; from it on the new index belongs to
 * whoever writes through the alias. docs/reindexing.md has the table of who may write where.
 */
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { moveAlias, readOwnAlias, type AliasMember } from "../cluster/alias.js";
import { traced } from "../observe/tracing.js";
import { settledUpTo } from "../sources/index-source.js";
import { demandFewDeadLetters } from "./dead-letter-ceiling.js";
import { holdWrites, releaseAtLast, releaseWrites } from "./hold-source.js";
import { countDocuments } from "./missing-documents.js";
import type { RunRecord } from "./run-record.js";
import type { RunStore } from "./run-store.js";
import { shardsOf } from "./target-shards.js";

/** What swapping needs. */
export interface SwapContext {
  readonly cluster: Cluster;
  readonly config: Config;
  readonly store: RunStore;
  readonly patience: Patience;
  readonly onStep: (message: string) => void;
}

/** Longest time that writers of the source are held, milliseconds. */
const HOLD_MS = 60_000;

/** How often it is tried to copy the last changes in that time. */
const MOST_HOLDS = 5;

/** The last passes. */
export interface LastPasses {
  /** Copies what changed since the last pass. */
  readonly copy: (run: RunRecord) => Promise<RunRecord>;
  /** Removes what the source has no more. */
  readonly sweep: (run: RunRecord) => Promise<RunRecord>;
}

/**
 * Moves the alias to the new index, with its filter, routing and all. Where it leads to the source
 * itself, writers are held until what they wrote is copied.
 * @throws CspladeError `index_invalid` if the new index is empty or the alias has several indices by
 *   now; `too_many_dead_letters`; `job_failed` if the last changes cannot be copied in the time that writers may be held.
 */
export async function swapAlias(
  context: SwapContext,
  begun: RunRecord,
  passes: LastPasses,
): Promise<RunRecord> {
  const { cluster, patience, onStep } = context;
  await demandDocuments(context, begun);
  const before = await patiently(patience, () => readOwnAlias(cluster, begun.alias));
  const isSource = begun.source.type === "index" && before?.index === begun.source.index;
  const swapped = isSource
    ? await swapHeld(context, begun, before, passes)
    : await move(context, begun, before);
  onStep(
    before === undefined
      ? `The alias ${begun.alias} now leads to ${begun.target}.`
      : `The alias ${begun.alias} now leads to ${begun.target} (before: ${before.index}).`,
  );
  return swapped;
}

/**
 * Whether a coordinator that died had moved the alias already: then everything that follows must know.
 */
export async function noteSwap(context: SwapContext, run: RunRecord): Promise<RunRecord> {
  const { cluster, store, patience } = context;
  if (run.previous !== undefined || run.previous_alias === undefined) return run;
  const now = await patiently(patience, () => readOwnAlias(cluster, run.alias));
  if (now?.index !== run.target) return run;
  const previous = run.previous_alias.map(({ index }) => index);
  return store.updateRun(run.run, (record) => ({ ...record, previous }));
}

async function swapHeld(
  context: SwapContext,
  begun: RunRecord,
  before: AliasMember,
  { copy, sweep }: LastPasses,
): Promise<RunRecord> {
  let run = begun;
  for (let attempt = 1; attempt <= MOST_HOLDS; attempt++) {
    const started = performance.now();
    const hold = { isOver: false, ended: Promise.resolve() };
    const timer = setTimeout(() => {
      hold.isOver = true;
      hold.ended = releaseAtLast(context, run).catch(() => {});
    }, HOLD_MS);
    try {
      run = await holdWrites(context, run, before.index);
      run = await copy(run);
      const counted = await countDocuments(context, run);
      if (counted.extra > 0) run = await sweep(run);
      if (hold.isOver) {
        run = await copy(run);
        continue;
      }
      run = await move(context, run, before);
      context.onStep(
        `Writes to ${before.index} were held for ${((performance.now() - started) / 1_000).toFixed(1)} s.`,
      );
      clearTimeout(timer);
      return await releaseWrites(context, run);
    } finally {
      clearTimeout(timer);
      await hold.ended;
      await releaseAtLast(context, run);
    }
  }
  throw new CspladeError(
    "job_failed",
    `The last changes of ${before.index} could not be copied within the ${HOLD_MS / 1_000} s for which its writers may be held.`,
    { hint: "Add workers or lift the rate limit (csplade steer), and resume the run." },
  );
}

/** The run's record says what the alias was before it is moved: whoever goes on can tell. */
async function move(
  context: SwapContext,
  run: RunRecord,
  before: AliasMember | undefined,
): Promise<RunRecord> {
  const { cluster, store, patience } = context;
  const { alias, target } = run;
  if (before?.index === target) {
    return store.updateRun(run.run, (now) => ({ ...now, previous: now.previous ?? [] }));
  }
  const shards = await patiently(patience, () => shardsOf(cluster, target));
  const swapped_at = await patiently(patience, () =>
    settledUpTo(cluster, { index: target, shards }, patience.signal),
  );
  const previous_alias = before === undefined ? [] : [before];
  await store.updateRun(run.run, (now) => ({ ...now, previous_alias, swapped_at }));
  const member =
    before === undefined ? { index: target, is_write_index: true } : { ...before, index: target };
  const attributes = { "csplade.run": run.run, "csplade.alias": alias };
  const from = previous_alias.map(({ index }) => index);
  await traced("csplade.swap", attributes, () =>
    patiently(patience, () => moveAlias(cluster, alias, from, [member])),
  );
  return store.updateRun(run.run, (now) => ({ ...now, previous: from }));
}

/** An alias is not moved to an index in which there is nothing, or too little, of what was to be copied. */
async function demandDocuments(context: SwapContext, run: RunRecord): Promise<void> {
  const counted = await countDocuments(context, run);
  const { target, source, dead_letters } = counted;
  if (target > 0 || (source ?? 0) + dead_letters === 0) {
    demandFewDeadLetters(context.config, run, counted);
    return;
  }
  throw new CspladeError(
    "index_invalid",
    `The new index ${run.target} is empty (${dead_letters} dead letters): the alias ${run.alias} stays where it is.`,
    { hint: "The reasons are in csplade-dead-letters; mend the cause and begin again with --new." },
  );
}
