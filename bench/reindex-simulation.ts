/**
 * A reindex on paper: workers, slices, checkpoints, queue, cluster and autoscaler in steps of one
 * second, at given rates, with failures at random moments. It knows what the code does when
 * something fails (checkpoints, lost locks, waiting writes), not how fast anything is: that it is
 * told.
 */
import { randomNumbers } from "../test/support/random-numbers.js";

/** What a simulation is driven by; `bench/reindex-rates.json` holds values and where they are from. */
export interface ReindexRates {
  readonly documents: number;
  readonly tokens_per_document: number;
  /** Of one worker, with nothing else in its way. */
  readonly worker_tokens_per_second: number;
  readonly slice_documents: number;
  readonly slices_per_worker: number;
  /** Work of a slice that a crash undoes, at most. */
  readonly checkpoint_seconds: number;
  /** Until a slice whose worker vanished is given to another one. */
  readonly lock_seconds: number;
  /** How long writes wait for a cluster that is away before the slice is given back. */
  readonly patience_seconds: number;
  readonly redis_bytes_per_slice: number;
  readonly redis_base_bytes: number;
  readonly bulk_bytes_per_document: number;
  readonly cluster_documents_per_second_per_node: number;
  readonly cluster_nodes: number;
  /** From a pod on a node that is there to a worker that works. */
  readonly worker_start_seconds: number;
  /** Until a GPU node is there. */
  readonly node_start_seconds: number;
  /** Documents that change in the source meanwhile. */
  readonly source_changes_per_second: number;
  readonly gpu_node_price_per_hour: number;
}

/** What goes wrong, and how often. */
export interface Failures {
  /** Processes that die and start again, per worker and day. */
  readonly worker_crashes_per_day: number;
  /** GPU nodes that are taken away, per worker and day (spot instances). */
  readonly node_losses_per_day: number;
  readonly redis_outages_per_day: number;
  readonly redis_outage_seconds: number;
  readonly cluster_outages_per_day: number;
  readonly cluster_outage_seconds: number;
  /** Times in which the cluster takes a fifth of its usual load and answers 429 to the rest. */
  readonly busy_storms_per_day: number;
  readonly busy_storm_seconds: number;
}

/** A question to the simulator. */
export interface Scenario {
  /** Most workers; the autoscaler starts from zero. */
  readonly workers: number;
  readonly failures: Failures;
  readonly seed: number;
}

/** What came out. */
export interface ReindexOutcome {
  /** From the first slice until the alias can be swapped, seconds. */
  readonly seconds: number;
  /** Documents in the target: all planned, and all that changed meanwhile, once each. */
  readonly settled: number;
  /** Of these, documents that changed in the source during the run and were copied again. */
  readonly changed: number;
  /** Documents encoded and written again because a checkpoint was lost. */
  readonly repeated: number;
  readonly crashes: number;
  readonly node_losses: number;
  /** Seconds in which Redis, or the cluster, was away. */
  readonly redis_away_seconds: number;
  readonly cluster_away_seconds: number;
  /** Share of the time in which the cluster, not the encoders, set the pace. */
  readonly cluster_bound_share: number;
  readonly redis_peak_bytes: number;
  /** Of a whole second. */
  readonly peak_documents_per_second: number;
  readonly peak_bulk_bytes_per_second: number;
  /** Hours of GPU nodes that were paid for, starting ones included. */
  readonly node_hours: number;
  readonly cost: number;
}

/** Nothing goes wrong. */
export const calm: Failures = {
  worker_crashes_per_day: 0,
  node_losses_per_day: 0,
  redis_outages_per_day: 0,
  redis_outage_seconds: 0,
  cluster_outages_per_day: 0,
  cluster_outage_seconds: 0,
  busy_storms_per_day: 0,
  busy_storm_seconds: 0,
};

const DAY = 86_400;

/** Share of its usual load that a busy cluster takes. */
const BUSY_SHARE = 0.2;

/** KEDA's policy in the chart: at most twice as many, or four more, per minute. */
const SCALE_PERIOD = 60;
const SCALE_PODS = 4;

/** Catching up ends when a pass has less than this many seconds of changes to copy. */
const LAG_BOUND_SECONDS = 60;

/** A simulation that takes longer than this will never end. */
const LONGEST_SECONDS = 400 * DAY;

/** A slice in a worker's hands. */
interface Held {
  /** Documents still to be done. */
  remaining: number;
  /** Documents done since the last checkpoint. */
  atRisk: number;
}

interface SimulatedWorker {
  /** Second from which it works. */
  readyAt: number;
  held: Held[];
}

/** Slices that wait, as documents each; a slice given back has fewer than a whole one. */
interface Waiting {
  readonly remaining: number;
  /** Second from which somebody may take it. */
  readonly from: number;
}

/** Runs one scenario to its end. Same seed, same outcome. */
export function simulateReindex(rates: ReindexRates, scenario: Scenario): ReindexOutcome {
  const random = randomNumbers(scenario.seed);
  const { failures } = scenario;
  const encodesPerSecond = rates.worker_tokens_per_second / rates.tokens_per_document;
  const clusterPerSecond = rates.cluster_documents_per_second_per_node * rates.cluster_nodes;
  const happens = (perDay: number) => perDay > 0 && random() < perDay / DAY;

  const workers: SimulatedWorker[] = [];
  let whole = Math.floor(rates.documents / rates.slice_documents);
  const rest = rates.documents % rates.slice_documents;
  let waiting: Waiting[] = rest > 0 ? [{ remaining: rest, from: 0 }] : [];

  let second = 0;
  let passStart = 0;
  let settled = 0;
  let changed = 0;
  let repeated = 0;
  let crashes = 0;
  let nodeLosses = 0;
  let redisAway = 0;
  let clusterAway = 0;
  let clusterBound = 0;
  let peak = 0;
  let redisPeak = 0;
  let nodeSeconds = 0;
  let redisBackAt = 0;
  let clusterBackAt = 0;
  let busyUntil = 0;
  let redisGoneSince = 0;
  let clusterGoneSince = 0;

  /** Gives back what a worker holds, from its last checkpoints on. */
  const giveBack = (worker: SimulatedWorker, from: number): void => {
    for (const { remaining, atRisk } of worker.held) {
      repeated += atRisk;
      settled -= atRisk;
      waiting.push({ remaining: remaining + atRisk, from });
    }
    worker.held = [];
  };

  for (;;) {
    const open = whole + waiting.length + workers.reduce((sum, { held }) => sum + held.length, 0);
    redisPeak = Math.max(redisPeak, rates.redis_base_bytes + open * rates.redis_bytes_per_slice);
    if (open === 0) {
      // A pass is over: what changed since its start is the next one.
      const lag = second - passStart;
      const changes = Math.floor(lag * rates.source_changes_per_second);
      if (lag <= LAG_BOUND_SECONDS || changes === 0) break;
      passStart = second;
      changed += changes;
      for (let left = changes; left > 0; left -= rates.slice_documents) {
        waiting.push({ remaining: Math.min(left, rates.slice_documents), from: second });
      }
    }

    // Outages begin and end.
    if (second >= redisBackAt && happens(failures.redis_outages_per_day)) {
      redisGoneSince = second;
      redisBackAt = second + failures.redis_outage_seconds;
    }
    if (second >= clusterBackAt && happens(failures.cluster_outages_per_day)) {
      clusterGoneSince = second;
      clusterBackAt = second + failures.cluster_outage_seconds;
    }
    if (second >= busyUntil && happens(failures.busy_storms_per_day)) {
      busyUntil = second + failures.busy_storm_seconds;
    }
    const redisUp = second >= redisBackAt;
    const clusterUp = second >= clusterBackAt;
    if (!redisUp) redisAway++;
    if (!clusterUp) clusterAway++;

    scale(workers, Math.min(scenario.workers, open), second, rates);
    nodeSeconds += workers.length;

    for (const worker of workers) {
      if (worker.readyAt > second) continue;
      if (happens(failures.node_losses_per_day)) {
        nodeLosses++;
        giveBack(worker, second + rates.lock_seconds);
        worker.readyAt = second + rates.node_start_seconds + rates.worker_start_seconds;
      } else if (happens(failures.worker_crashes_per_day)) {
        crashes++;
        giveBack(worker, second + rates.lock_seconds);
        worker.readyAt = second + rates.worker_start_seconds;
      } else if (!redisUp && second - redisGoneSince >= rates.lock_seconds) {
        // Its locks cannot be renewed: what it holds belongs to whoever takes it next.
        giveBack(worker, redisBackAt);
      } else if (!clusterUp && second - clusterGoneSince >= rates.patience_seconds) {
        giveBack(worker, clusterBackAt);
      }
    }

    // Slices are taken.
    if (redisUp) {
      waiting = waiting.sort((a, b) => a.from - b.from);
      for (const worker of workers) {
        while (worker.readyAt <= second && worker.held.length < rates.slices_per_worker) {
          const next = waiting[0];
          if (next !== undefined && next.from <= second) {
            waiting.shift();
            worker.held.push({ remaining: next.remaining, atRisk: 0 });
          } else if (whole > 0) {
            whole--;
            worker.held.push({ remaining: rates.slice_documents, atRisk: 0 });
          } else break;
        }
      }
    }

    // A second of work: encoders push, the cluster takes what it can.
    const working = workers.filter(({ readyAt, held }) => readyAt <= second && held.length > 0);
    const wanted = working.length * encodesPerSecond;
    const capacity = clusterUp ? clusterPerSecond * (second < busyUntil ? BUSY_SHARE : 1) : 0;
    const share = wanted > 0 ? Math.min(1, capacity / wanted) : 0;
    if (wanted > capacity) clusterBound++;
    let done = 0;
    const most = encodesPerSecond * rates.checkpoint_seconds;
    for (const worker of working) {
      const each = (encodesPerSecond * share) / worker.held.length;
      for (const held of worker.held) {
        const advance = Math.min(each, held.remaining);
        held.remaining -= advance;
        done += advance;
        held.atRisk = Math.min(held.atRisk + advance, most / worker.held.length);
      }
      worker.held = worker.held.filter(({ remaining }) => remaining > 1e-6);
    }
    settled += done;
    peak = Math.max(peak, done);
    second++;
    if (second > LONGEST_SECONDS) {
      throw new Error("The simulated run does not end: it loses work faster than it is done.");
    }
  }

  const nodeHours = nodeSeconds / 3_600;
  return {
    seconds: second,
    settled: Math.round(settled),
    changed,
    repeated: Math.round(repeated),
    crashes,
    node_losses: nodeLosses,
    redis_away_seconds: redisAway,
    cluster_away_seconds: clusterAway,
    cluster_bound_share: clusterBound / second,
    redis_peak_bytes: redisPeak,
    peak_documents_per_second: peak,
    peak_bulk_bytes_per_second: peak * rates.bulk_bytes_per_document,
    node_hours: nodeHours,
    cost: nodeHours * rates.gpu_node_price_per_hour,
  };
}

/** Starts workers up to `wanted` as the chart's policy allows; they go when there is no slice for them. */
function scale(
  workers: SimulatedWorker[],
  wanted: number,
  second: number,
  rates: ReindexRates,
): void {
  if (workers.length < wanted && second % SCALE_PERIOD === 0) {
    const step = Math.max(workers.length, SCALE_PODS);
    const readyAt = second + rates.node_start_seconds + rates.worker_start_seconds;
    const more = Math.min(step, wanted - workers.length);
    for (let number = 0; number < more; number++) workers.push({ readyAt, held: [] });
  }
}
