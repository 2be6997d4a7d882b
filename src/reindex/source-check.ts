/**
 * Looks some documents of a run's source up in the new index: are they there, in the state that was
 * copied, with every byte of their own?
 */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { liftSources } from "../cluster/lifted-sources.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { pathOf } from "../cluster/request.js";
import { wholeSourceQuery } from "../cluster/whole-source.js";
import type { Config } from "../config/settings.js";
import { differingField } from "../index/source-comparison.js";
import { sampleDocuments } from "./index-sample.js";
import { readDeadLetters } from "./dead-letters.js";
import { targetId } from "./missing-documents.js";
import { cutFiles } from "./plan-run.js";
import type { RunRecord } from "./run-record.js";
import { readSlice, versionOf } from "./slice-reader.js";

/** What looking takes. */
export interface SourceCheckContext {
  readonly cluster: Cluster;
  readonly config: Pick<Config, "ingest.max_document_bytes">;
  readonly patience: Patience;
  /** Documents to look up; at least {@link LEAST_OF_SHARD} of every shard that has as many. */
  readonly sample: number;
}

/** What was found. */
export interface SourceFindings {
  readonly sampled: number;
  /** Ids of documents that are missing, or there in an older version than was copied. */
  readonly behind: readonly string[];
  /** Documents that are there with something else than their source says, and in which field. */
  readonly altered: readonly { readonly id: string; readonly field: string }[];
}

/** A document as the source has it. */
interface SourceState {
  readonly id: string;
  readonly routing?: string;
  /** Version it has in the target. */
  readonly version: number;
  readonly text: string;
}

/** Documents of a shard that are looked up at least: a shard is not checked by one of them. */
const LEAST_OF_SHARD = 20;

/** Slices of files that documents are taken from. */
const SAMPLED_SLICES = 8;

/** Documents read from the target at once: their vectors come with them. */
const PER_REQUEST = 50;

/** Samples the source and looks what is sampled up. */
export async function checkSource(
  context: SourceCheckContext,
  run: RunRecord,
): Promise<SourceFindings> {
  const states =
    run.source.type === "index"
      ? await sampleShards(context, run, run.source)
      : await sampleFiles(context, run);
  const stored = await readTarget(context, run, states);
  const older: SourceState[] = [];
  const altered: { id: string; field: string }[] = [];
  for (const [i, state] of states.entries()) {
    const there = stored[i];
    if (there === undefined || there.version < state.version) {
      older.push(state);
      continue;
    }
    // A passage has a part of the text; and in files a later line of the same id may have won.
    const isOther = run.source.type === "files" && there.version > state.version;
    if (run.passages === "documents" || isOther) continue;
    const field = differingField(state.text, there.text);
    if (field !== undefined) altered.push({ id: state.id, field });
  }
  return { sampled: states.length, behind: await notBuried(context, run, older), altered };
}

async function sampleShards(
  { cluster, patience, sample }: SourceCheckContext,
  run: RunRecord,
  { index, primaries }: Extract<RunRecord["source"], { type: "index" }>,
): Promise<SourceState[]> {
  // The numbers that are copied, per shard; one without operations has none.
  const copied = run.passes.findLast(({ task }) => task === "copy")?.up_to ?? [];
  const shards = [...copied.entries()].filter(([, up_to]) => up_to >= 0);
  const size = Math.max(LEAST_OF_SHARD, Math.ceil(sample / Math.max(1, shards.length)));
  const states: SourceState[] = [];
  for (const [shard, up_to] of shards) {
    const from = { index, shard, primaries };
    const drawn = await patiently(patience, () =>
      sampleDocuments(cluster, { from, up_to, size }, patience.signal),
    );
    for (const { id, routing, seq_no, source } of drawn) {
      const place = { id, ...(routing === undefined ? {} : { routing }) };
      states.push({ ...place, version: versionOf(seq_no), text: source });
    }
  }
  return states;
}

/** The first documents of some slices. */
async function sampleFiles(
  { cluster, config, patience, sample }: SourceCheckContext,
  run: RunRecord,
): Promise<SourceState[]> {
  const maxDocumentBytes = config["ingest.max_document_bytes"];
  const slices = await cutFiles(run);
  const step = Math.max(1, Math.ceil(slices.length / SAMPLED_SLICES));
  const drawn = slices.filter((_, i) => i % step === 0);
  const each = Math.ceil(sample / Math.max(1, drawn.length));
  const states: SourceState[] = [];
  for (const slice of drawn) {
    const until = states.length + each;
    const reading = { cluster, run, patience, maxDocumentBytes };
    for await (const page of readSlice(reading, slice, slice.from)) {
      for (const { id, routing, version, content } of page) {
        if (states.length >= until || !("document" in content)) continue;
        const place = { id, ...(routing === undefined ? {} : { routing }) };
        states.push({ ...place, version, text: content.document.body.text });
      }
      if (states.length >= until) break;
    }
  }
  return states;
}

const mgetSchema = z.object({
  docs: z.array(
    z.object({
      found: z.boolean().optional(),
      _version: z.number().optional(),
      _source: z.number().optional(),
    }),
  ),
});

/** What the target holds of some documents; undefined for one that it has not. */
async function readTarget(
  { cluster, patience }: SourceCheckContext,
  run: RunRecord,
  states: readonly SourceState[],
): Promise<({ readonly version: number; readonly text: string } | undefined)[]> {
  const doing = `Looking for documents in ${run.target}`;
  const found: ({ version: number; text: string } | undefined)[] = [];
  for (let from = 0; from < states.length; from += PER_REQUEST) {
    const docs = states.slice(from, from + PER_REQUEST).map(({ id, routing }) => ({
      _id: targetId(run, id),
      ...(routing === undefined ? {} : { routing }),
    }));
    const path = pathOf(run.target, "_mget");
    const text = await patiently(patience, async () => {
      const query = await wholeSourceQuery(cluster, run.target);
      return await cluster.demandText({ method: "POST", path, query, body: { docs } }, doing);
    });
    const { answer, sources } = liftSources(text, ["docs"], doing);
    for (const { found: isThere, _version, _source } of mgetSchema.parse(answer).docs) {
      found.push(
        isThere === true && _version !== undefined
          ? { version: _version, text: sources[_source ?? -1] ?? "{}" }
          : undefined,
      );
    }
  }
  return found;
}

/** Those that no dead letter of this state stands for. */
async function notBuried(
  { cluster, patience }: SourceCheckContext,
  run: RunRecord,
  older: readonly SourceState[],
): Promise<string[]> {
  if (older.length === 0) return [];
  const letters = await patiently(patience, () => readDeadLetters(cluster, run.run));
  const buried = new Map(letters.map(({ id, version }) => [id, version]));
  return older.filter(({ id, version }) => (buried.get(id) ?? -1) < version).map(({ id }) => id);
}
