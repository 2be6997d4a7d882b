/**
 * Applications that write while something goes on, and a ledger of every write that the cluster
 * acknowledged, by the index it went into. Requests and readings go past csplade's own client.
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { pathOf } from "../../src/cluster/request.js";
import { liftSources } from "../../src/cluster/lifted-sources.js";
import type { HostileDocuments } from "./hostile-documents.js";
import { z } from "zod";

/** One acknowledged write: what the document was after it, and when it was under way. */
export interface Write {
  /** The whole `_source`; null after a delete. */
  readonly text: string | null;
  readonly begun: number;
  readonly ended: number;
}

/** What an index holds and held, by what was acknowledged. */
export class Ledger {
  readonly #writes = new Map<string, Map<string, Write[]>>();

  note(index: string, id: string, write: Write): void {
    const ofIndex = this.#writes.get(index) ?? new Map<string, Write[]>();
    this.#writes.set(index, ofIndex);
    ofIndex.set(id, [...(ofIndex.get(id) ?? []), write]);
  }

  /** The writes of a document, in order. */
  of(index: string, id: string): readonly Write[] {
    return this.#writes.get(index)?.get(id) ?? [];
  }

  ids(index: string): string[] {
    return [...(this.#writes.get(index)?.keys() ?? [])];
  }

  /** Acknowledged writes of all indices. */
  get size(): number {
    let size = 0;
    for (const index of this.#writes.values())
      for (const each of index.values()) size += each.length;
    return size;
  }
}

/** A writer: what it writes to, and which documents are its own. */
export interface WriterOptions {
  readonly url: string;
  /** An index or an alias, asked for before every write; undefined: wait. */
  readonly name: () => string | undefined;
  readonly documents: HostileDocuments;
  /** Numbers of its documents: from, and how many. */
  readonly from: number;
  readonly count: number;
  readonly random: () => number;
  readonly ledger: Ledger;
  /** Nothing of the index builds documents anew: what is sent is what is there. */
  readonly isKept?: boolean;
  /** Mean pause between two writes, milliseconds. */
  readonly pauseMs: number;
  readonly stop: AbortSignal;
}

const answerSchema = z.object({ _index: z.string(), result: z.string() });

/** Writes until it is stopped: whole documents, partial updates and deletes. */
export async function write(options: WriterOptions): Promise<void> {
  const { url, documents, from, count, random, ledger, stop } = options;
  for (let n = 1; !stop.aborted; n++) {
    await sleep(2 * random() * options.pauseMs, undefined, { signal: stop }).catch(() => {});
    const name = options.name();
    if (name === undefined) continue;
    const number = from + Math.floor(random() * count);
    const id = documents.id(number);
    const kind = random();
    const text = documents.text(number, n);
    const begun = performance.now();
    const answer =
      kind < 0.5
        ? await send("PUT", pathOf(name, "_doc", id), text)
        : kind < 0.75
          ? await send("POST", pathOf(name, "_update", id), `{"doc":{"updated":${n}.50}}`)
          : await send("DELETE", pathOf(name, "_doc", id));
    const ended = performance.now();
    // Held by the run, not there, or nothing that this cluster can update: an application goes on.
    if (answer.status >= 300) {
      assert.ok([400, 403, 404, 409].includes(answer.status), `${answer.status} ${answer.text}`);
      continue;
    }
    const { _index, result } = answerSchema.parse(JSON.parse(answer.text));
    if (result === "noop") continue;
    // An ingest pipeline of the index has built the document anew, and an update has merged it.
    const sent = kind < 0.5 && options.isKept === true ? text : undefined;
    const now = kind < 0.75 ? (sent ?? (await sourceOf(_index, id))) : null;
    ledger.note(_index, id, { text: now, begun, ended });
  }

  async function send(method: string, path: string, body?: string) {
    const answer = await fetch(`${url}${path}`, {
      method,
      ...(body === undefined ? {} : { body, headers: { "content-type": "application/json" } }),
    });
    return { status: answer.status, text: await answer.text() };
  }

  async function sourceOf(index: string, id: string): Promise<string> {
    const answer = await send("GET", pathOf(index, "_source", id));
    assert.equal(answer.status, 200, answer.text);
    return answer.text;
  }
}

const pageSchema = z.object({
  hits: z.object({
    hits: z.array(z.object({ _id: z.string(), _source: z.number(), sort: z.tuple([z.number()]) })),
  }),
});

const settingsSchema = z.record(
  z.string(),
  z.object({ settings: z.object({ "index.number_of_shards": z.coerce.number() }) }),
);

/** The `_source` texts of an index by id; every text that a document has, should it be there twice. */
export async function textsOf(url: string, index: string): Promise<Map<string, string[]>> {
  await fetch(`${url}${pathOf(index, "_refresh")}`, { method: "POST" });
  const asked = await fetch(`${url}${pathOf(index, "_settings")}?flat_settings=true`);
  const settings = settingsSchema.parse(await asked.json())[index]?.settings;
  const texts = new Map<string, string[]>();
  for (let shard = 0; shard < (settings?.["index.number_of_shards"] ?? 0); shard++) {
    let after: readonly number[] | undefined;
    for (;;) {
      const rest = after === undefined ? {} : { search_after: after };
      const at = `${pathOf(index, "_search")}?preference=_shards:${shard}`;
      const answer = await fetch(`${url}${at}`, {
        method: "POST",
        body: JSON.stringify({ size: 1_000, sort: [{ _seq_no: "asc" }], ...rest }),
        headers: { "content-type": "application/json" },
      });
      const text = await answer.text();
      assert.equal(answer.status, 200, text.slice(0, 500));
      const lifted = liftSources(text, ["hits", "hits"], "Reading an index back");
      const { hits } = pageSchema.parse(lifted.answer).hits;
      for (const { _id, _source, sort } of hits) {
        texts.set(_id, [...(texts.get(_id) ?? []), lifted.sources[_source] ?? ""]);
        after = sort;
      }
      if (hits.length === 0) break;
    }
  }
  return texts;
}
