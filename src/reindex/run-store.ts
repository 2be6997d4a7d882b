/**
 * Reads and writes the records of runs. Every change names the version it was made from, so two
 * writers never overwrite each other: that fences off a worker whose job was given to another.
 */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { isPassing, patiently, type Patience } from "../cluster/patience.js";
import { codeOfStatus, pathOf, reasonOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { Config } from "../config/settings.js";
import { resolveWriteName } from "../cluster/write-alias.js";
import { firstTruncated } from "../documents/document-path.js";
import { createInternalIndex } from "./internal-index.js";
import {
  addCounts,
  noCounts,
  runSchema,
  sliceSchema,
  type RunRecord,
  type SliceCounts,
  type SliceRecord,
} from "./run-record.js";
import { recordsGone, RUNS_BODY, RUNS_INDEX } from "./runs-index.js";

/** A record and the version it was read in. */
export interface Stored<T> {
  readonly record: T;
  readonly seq_no: number;
  readonly primary_term: number;
}

/** How the slices of a run stand. */
export interface SliceTotals {
  readonly slices: Readonly<Record<SliceRecord["state"], number>>;
  readonly counts: SliceCounts;
  /** Documents of all slices: as found in those that are done, as planned in the others. */
  readonly planned: number;
}

/** Another worker has the slice by now: nothing of it may be written any more. */
export class SliceLostError extends CspladeError {
  constructor(slice: SliceRecord) {
    super(
      "job_failed",
      `Slice ${slice.number} of ${slice.run} was given to another worker meanwhile.`,
    );
  }
}

/** Access to the records. */
export interface RunStore {
  /** Creates the index of the records if it is missing. */
  prepare(): Promise<void>;
  createRun(run: RunRecord): Promise<void>;
  /** @throws CspladeError `index_not_found` if there is no such run. */
  readRun(run: string): Promise<Stored<RunRecord>>;
  /** The run of this name, or else the newest one of the alias of this name. */
  findRun(name: string): Promise<RunRecord>;
  /** Changes a run's record; `change` may be called again if somebody else changed it meanwhile. */
  updateRun(run: string, change: (run: RunRecord) => RunRecord): Promise<RunRecord>;
  /** Newest first; only those of this Redis prefix, whose backlog is this installation's. */
  listRuns(filter?: { readonly alias?: string }): Promise<RunRecord[]>;
  /** Adds slices that are not there yet. */
  addSlices(slices: readonly SliceRecord[]): Promise<void>;
  readSlice(run: string, slice: number): Promise<Stored<SliceRecord>>;
  /** Writes a slice's next state. @throws SliceLostError if it was changed by another one. */
  writeSlice(before: Stored<SliceRecord>, next: SliceRecord): Promise<Stored<SliceRecord>>;
  /** Slices in some states, by number. */
  listSlices(
    run: string,
    states: readonly SliceRecord["state"][],
    most?: number,
  ): Promise<SliceRecord[]>;
  totals(run: string): Promise<SliceTotals>;
  /** Ids of the first documents of which some text was left out. */
  truncatedIds(run: string): Promise<string[]>;
  /**
   * Keeps of the passes before `below`, which must be finished, only the sums: a run that follows
   * its source for weeks has as many slices as one that follows it for an hour.
   */
  foldPasses(run: string, below: number): Promise<RunRecord>;
  /** Number of the last slice; −1 if there is none. */
  lastSlice(run: string): Promise<number>;
  /** Appends a document for dashboards. */
  addProgress(progress: Readonly<Record<string, unknown>>): Promise<void>;
}

const storedSchema = z.object({
  _seq_no: z.number(),
  _primary_term: z.number(),
  _source: z.unknown(),
});

const hitsSchema = z.object({ hits: z.object({ hits: z.array(storedSchema.partial()) }) });

/** Slices written per bulk request while planning. */
const SLICES_PER_REQUEST = 1_000;

/** Opens the store. Every operation waits for a cluster that is away, as `patience` says. */
export function openRunStore(
  cluster: Cluster,
  given: Patience & { readonly config: Pick<Config, "redis.prefix"> },
): RunStore {
  const { "redis.prefix": prefix } = given.config;
  const patience = { ...given, cluster };
  const sliceId = (run: string, slice: number) => `${run}.${slice}`;
  const demand = (doing: string, request: Parameters<Cluster["demand"]>[0]) =>
    patiently(patience, () => cluster.demand({ ...request, signal: patience.signal }, doing));

  let writeName: string | undefined;
  /**
   * The name that records are written by; a write to it never makes the index anew, without its mapping.
   * @throws CspladeError `index_not_found` if the records are gone.
   */
  async function written(): Promise<string> {
    writeName ??= await patiently(patience, async () => {
      const { signal } = patience;
      return resolveWriteName(cluster, RUNS_INDEX, { adopts: true, signal });
    });
    return writeName;
  }

  async function get(id: string): Promise<z.infer<typeof storedSchema> | undefined> {
    try {
      const doing = `Reading the record ${id}`;
      return storedSchema.parse(
        await demand(doing, { method: "GET", path: pathOf(RUNS_INDEX, "_doc", id) }),
      );
    } catch (thrown) {
      if (thrown instanceof CspladeError && thrown.code === "index_not_found") return undefined;
      throw thrown;
    }
  }

  /** @returns undefined if the record has another version by now. */
  async function put(
    id: string,
    before: { readonly seq_no: number; readonly primary_term: number },
    record: object,
  ): Promise<{ seq_no: number; primary_term: number } | undefined> {
    const name = await written();
    return patiently(patience, async () => {
      const answer = await cluster.send({
        method: "PUT",
        path: pathOf(name, "_doc", id),
        query: {
          require_alias: true,
          if_seq_no: before.seq_no,
          if_primary_term: before.primary_term,
        },
        body: record,
        signal: patience.signal,
      });
      if (answer.status === 409) return undefined;
      if (answer.status >= 400) {
        throw new CspladeError(
          codeOfStatus(answer.status),
          `Writing the record ${id}: ${cluster.url} answered ${answer.status}: ${reasonOf(answer.body)}`,
        );
      }
      const written = z
        .object({ _seq_no: z.number(), _primary_term: z.number() })
        .parse(answer.body);
      return { seq_no: written._seq_no, primary_term: written._primary_term };
    });
  }

  async function search(doing: string, body: object): Promise<unknown> {
    await demand(doing, { method: "POST", path: pathOf(RUNS_INDEX, "_refresh") });
    return demand(doing, {
      method: "POST",
      path: pathOf(RUNS_INDEX, "_search"),
      query: { allow_partial_search_results: false },
      body,
    });
  }

  /** Sums over the slices of some passes. */
  async function sumSlices(run: string, passes: object): Promise<SliceTotals> {
    const sums = Object.keys(noCounts()).map((name): [string, object] => [
      name,
      { sum: { field: `counts.${name}` } },
    ]);
    const body = await search("Counting slices", {
      size: 0,
      query: {
        bool: {
          filter: [{ term: { run } }, isSlice, { range: { pass: passes } }],
        },
      },
      aggs: {
        states: {
          terms: { field: "state", size: 10 },
          aggs: {
            planned: { sum: { field: "documents" } },
            read: { sum: { field: "counts.read" } },
          },
        },
        ...Object.fromEntries(sums),
      },
    });
    const { aggregations } = z
      .object({ aggregations: z.record(z.string(), z.unknown()) })
      .parse(body);
    const sum = (name: string) => z.object({ value: z.number() }).parse(aggregations[name]).value;
    const { buckets } = z
      .object({
        buckets: z.array(
          z.object({
            key: z.string(),
            doc_count: z.number(),
            planned: z.object({ value: z.number() }),
            read: z.object({ value: z.number() }),
          }),
        ),
      })
      .parse(aggregations.states);
    const slices = { open: 0, running: 0, done: 0, failed: 0 };
    let planned = 0;
    for (const bucket of buckets) {
      slices[bucket.key as keyof typeof slices] = bucket.doc_count;
      // Documents that changed since belong to a later pass, and bytes were only an estimate.
      planned += bucket.key === "done" ? bucket.read.value : bucket.planned.value;
    }
    const counts = noCounts();
    const summed = Object.fromEntries(Object.keys(counts).map((name) => [name, sum(name)]));
    addCounts(counts, summed as SliceCounts);
    return { slices, counts, planned };
  }

  const store: RunStore = {
    prepare: () => createInternalIndex(cluster, patience, RUNS_INDEX, RUNS_BODY),
    async createRun(run) {
      await demand(`Recording the run ${run.run}`, {
        method: "PUT",
        path: pathOf(await written(), "_doc", run.run),
        query: { refresh: true, require_alias: true },
        body: { ...run, redis_prefix: prefix },
      });
    },
    async readRun(run) {
      const found = await get(run);
      if (found === undefined) {
        const answer = await cluster.send({ method: "HEAD", path: pathOf(RUNS_INDEX) });
        if (answer.status === 404) throw recordsGone(`There is no run ${run}`);
        throw new CspladeError("index_not_found", `There is no run ${run}.`, {
          hint: "csplade status lists the runs.",
        });
      }
      return stored(found, runSchema, `the run ${run}`);
    },
    async findRun(name) {
      const found = await get(name);
      if (found !== undefined) return stored(found, runSchema, `the run ${name}`).record;
      const [newest] = await store.listRuns({ alias: name });
      if (newest !== undefined) return newest;
      throw new CspladeError("index_not_found", `There is no run and no alias of a run ${name}.`, {
        hint: "csplade status lists the runs.",
      });
    },
    async updateRun(run, change) {
      for (;;) {
        const before = await store.readRun(run);
        const next = change(before.record);
        if ((await put(run, before, next)) !== undefined) return next;
      }
    },
    async listRuns(filter = {}) {
      const terms = [
        { term: { kind: "run" } },
        ...(filter.alias === undefined ? [] : [{ term: { alias: filter.alias } }]),
      ];
      const body = await search("Listing the runs", {
        size: 1_000,
        query: { bool: { filter: terms } },
        sort: [{ created_at: "desc" }],
      }).catch((thrown: unknown) => {
        if (thrown instanceof CspladeError && thrown.code === "index_not_found") return undefined;
        throw thrown;
      });
      if (body === undefined) return [];
      return hitsSchema
        .parse(body)
        .hits.hits.map((hit) => runSchema.parse(hit._source))
        .filter(({ redis_prefix }) => redis_prefix === undefined || redis_prefix === prefix);
    },
    async addSlices(slices) {
      const name = await written();
      for (let from = 0; from < slices.length; from += SLICES_PER_REQUEST) {
        const some = slices.slice(from, from + SLICES_PER_REQUEST);
        const lines = some.flatMap((slice) => [
          JSON.stringify({ create: { _id: sliceId(slice.run, slice.number) } }),
          JSON.stringify(slice),
        ]);
        await patiently(patience, async () => {
          const body = await cluster.demand(
            {
              method: "POST",
              path: pathOf(name, "_bulk"),
              query: { require_alias: true },
              body: lines.join("\n") + "\n",
              signal: patience.signal,
            },
            "Recording slices",
          );
          const { items } = z
            .object({ items: z.array(z.object({ create: z.object({ status: z.number() }) })) })
            .parse(body);
          // 409: recorded before, by a coordinator that stopped after it.
          const bad = items.find(({ create }) => create.status >= 300 && create.status !== 409);
          if (bad === undefined) return;
          if (bad.create.status === 404) throw recordsGone("Recording slices failed");
          throw new CspladeError(
            "cluster_busy",
            `Recording slices: one was answered ${bad.create.status}.`,
          );
        });
      }
    },
    async readSlice(run, slice) {
      const found = await get(sliceId(run, slice));
      if (found === undefined) {
        throw new CspladeError("index_not_found", `There is no slice ${slice} of the run ${run}.`);
      }
      return stored(found, sliceSchema, `slice ${slice} of ${run}`);
    },
    async writeSlice(before, next) {
      const id = sliceId(next.run, next.number);
      const version = await put(id, before, next);
      if (version !== undefined) return { record: next, ...version };
      // The answer to an earlier attempt may have been lost: then the record is ours already.
      const now = await store.readSlice(next.run, next.number);
      if (next.claim === undefined || now.record.claim !== next.claim) {
        throw new SliceLostError(next);
      }
      if (now.record.updated_at === next.updated_at) return now;
      return store.writeSlice(now, next);
    },
    async listSlices(run, states, most = 10_000) {
      const body = await search("Listing slices", {
        size: Math.min(most, 10_000),
        query: { bool: { filter: [{ term: { run } }, { terms: { state: states } }, isSlice] } },
        sort: [{ number: "asc" }],
      });
      return hitsSchema.parse(body).hits.hits.map((hit) => sliceSchema.parse(hit._source));
    },
    async truncatedIds(run) {
      const cut = { range: { "counts.truncated": { gt: 0 } } };
      const body = await search("Looking for truncated documents", {
        size: 5,
        query: { bool: { filter: [{ term: { run } }, isSlice, cut] } },
        sort: [{ number: "asc" }],
      });
      const slices = hitsSchema.parse(body).hits.hits.map((hit) => sliceSchema.parse(hit._source));
      return slices.reduce<string[]>((ids, slice) => firstTruncated(ids, slice.truncated_ids), []);
    },
    async totals(run) {
      const { folded } = (await store.readRun(run)).record;
      const { slices, counts, planned } = await sumSlices(run, { gte: folded?.below ?? 0 });
      if (folded === undefined) return { slices, counts, planned };
      addCounts(counts, folded.counts);
      return {
        slices: { ...slices, done: slices.done + folded.slices },
        counts,
        planned: planned + folded.planned,
      };
    },
    async foldPasses(run, below) {
      const { folded: before } = (await store.readRun(run)).record;
      const sums = await sumSlices(run, { gte: before?.below ?? 0, lt: below });
      const { open, running, failed, done } = sums.slices;
      if (open + running + failed > 0) throw new RangeError(`Passes before ${below} are not done.`);
      const counts = { ...sums.counts };
      if (before !== undefined) addCounts(counts, before.counts);
      const folded = {
        below,
        slices: done + (before?.slices ?? 0),
        planned: sums.planned + (before?.planned ?? 0),
        counts,
      };
      const record = await store.updateRun(run, (now) => {
        // Where to go on copying, and how old the copy is.
        const copies = now.passes.filter(({ task }) => task === "copy").slice(-2);
        const passes = now.passes.filter((pass) => pass.number >= below || copies.includes(pass));
        return { ...now, passes, folded };
      });
      // The sums count from now on; what is left by a process that dies here goes the next time.
      const old = [{ term: { run } }, isSlice, { range: { pass: { lt: below } } }];
      await demand("Deleting the records of old slices", {
        method: "POST",
        path: pathOf(RUNS_INDEX, "_delete_by_query"),
        query: { conflicts: "proceed" },
        body: { query: { bool: { filter: old } } },
      });
      return record;
    },
    async lastSlice(run) {
      const body = await search("Counting slices", {
        size: 1,
        query: { bool: { filter: [{ term: { run } }, isSlice] } },
        sort: [{ number: "desc" }],
      });
      const [last] = hitsSchema.parse(body).hits.hits;
      return last === undefined ? -1 : sliceSchema.parse(last._source).number;
    },
    async addProgress(progress) {
      // A missing point on a chart is no reason to wait or to stop.
      await cluster
        .send({
          method: "POST",
          path: pathOf(await written(), "_doc"),
          query: { require_alias: true },
          body: { kind: "progress", "@timestamp": new Date().toISOString(), ...progress },
        })
        .catch((thrown: unknown) => {
          if (!isPassing(thrown)) throw thrown;
        });
    },
  };
  return store;
}

const isSlice = { term: { kind: "slice" } };

function stored<T>(
  found: z.infer<typeof storedSchema>,
  schema: z.ZodType<T>,
  name: string,
): Stored<T> {
  const parsed = schema.safeParse(found._source);
  if (!parsed.success) {
    throw new CspladeError(
      "index_invalid",
      `The record of ${name} in ${RUNS_INDEX} cannot be read: ${parsed.error.issues[0]?.path.join(".") ?? ""} ${parsed.error.issues[0]?.message ?? ""}.`,
      { hint: "Another version of csplade wrote it: finish the run with that version." },
    );
  }
  return { record: parsed.data, seq_no: found._seq_no, primary_term: found._primary_term };
}
