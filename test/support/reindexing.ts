/** Sources, runs and looks at targets for the reindexing tests. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { Cluster } from "../../src/cluster/cluster.js";
import { pathOf } from "../../src/cluster/request.js";
import type { Config, SettingName } from "../../src/config/settings.js";
import { testServers } from "./servers.js";
import { testConfig } from "./tiny-checkpoints.js";

/** A document of a test source. */
export interface TestDocument {
  readonly id: string;
  readonly [field: string]: unknown;
}

/** The settings of a reindexing on the test servers, with a queue of its own. */
export function reindexConfig(flags: Partial<Record<SettingName, unknown>> = {}): Config {
  const { opensearchUrl, redisUrl } = testServers();
  return testConfig({
    "opensearch.url": opensearchUrl,
    "redis.url": redisUrl,
    "redis.prefix": `test-${randomBytes(4).toString("hex")}`,
    "reindex.slice_documents": 500,
    "queue.lock_ms": 2_000,
    ...flags,
  });
}

/** Plain documents `d0`, `d1`, …; `round` changes their text. */
export function testDocuments(count: number, round = 0, from = 0): TestDocument[] {
  return Array.from({ length: count }, (_, i) => ({
    id: `d${from + i}`,
    title: `Document ${from + i}`,
    text: `The text of document number ${from + i} in round ${round}, about subject ${(from + i) % 17}.`,
    round,
  }));
}

/** Writes documents into an index as a user would. */
export async function fill(
  cluster: Cluster,
  index: string,
  documents: readonly TestDocument[],
): Promise<void> {
  for (let from = 0; from < documents.length; from += 2_000) {
    const lines = documents
      .slice(from, from + 2_000)
      .flatMap(({ id, ...body }) => [JSON.stringify({ index: { _id: id } }), JSON.stringify(body)]);
    const answer = (await cluster.demand(
      {
        method: "POST",
        path: pathOf(index, "_bulk"),
        query: { filter_path: "errors,items.*.error" },
        body: lines.join("\n") + "\n",
      },
      `Filling ${index}`,
    )) as { errors: boolean };
    assert.equal(answer.errors, false, JSON.stringify(answer).slice(0, 500));
  }
}

/** All documents of an index by id, without their vectors and hashes unless asked for. */
export async function contentOf(
  cluster: Cluster,
  index: string,
  { vectors = false, hash = false }: { readonly vectors?: boolean; readonly hash?: boolean } = {},
): Promise<Map<string, Record<string, unknown>>> {
  await cluster.demand({ method: "POST", path: pathOf(index, "_refresh") }, "Refreshing");
  const found = new Map<string, Record<string, unknown>>();
  let after: number | undefined;
  for (;;) {
    const body = (await cluster.demand(
      {
        method: "POST",
        path: pathOf(index, "_search"),
        query: { allow_partial_search_results: false },
        body: {
          size: 5_000,
          sort: [{ _seq_no: "asc" }],
          ...(after === undefined ? {} : { search_after: [after] }),
          _source: vectors ? true : { excludes: hash ? NOT_THE_HASH : ["csplade*"] },
        },
      },
      "Reading the index back",
    )) as { hits: { hits: { _id: string; _source: Record<string, unknown>; sort: [number] }[] } };
    if (body.hits.hits.length === 0) return found;
    for (const hit of body.hits.hits) {
      assert.equal(found.has(hit._id), false, `${hit._id} is there twice`);
      found.set(hit._id, hit._source);
      [after] = hit.sort;
    }
  }
}

/** What csplade adds to a document, besides the hash of what it was made of. */
const NOT_THE_HASH = [
  "csplade",
  "csplade_model",
  "csplade_text_hash",
  "csplade_passage*",
  "csplade_parent",
];

/** Asserts that the target has what the source has: each document once, none stale, with a vector. */
export async function assertCopied(
  cluster: Cluster,
  source: string,
  target: string,
  except: readonly string[] = [],
): Promise<void> {
  const there = await contentOf(cluster, source);
  for (const id of except) there.delete(id);
  const here = await contentOf(cluster, target);
  assert.deepEqual([...here.keys()].sort(), [...there.keys()].sort());
  for (const [id, body] of there) assert.deepEqual(here.get(id), body, id);
  const without = (await cluster.demand(
    {
      method: "POST",
      path: pathOf(target, "_count"),
      body: { query: { bool: { must_not: { exists: { field: "csplade_model" } } } } },
    },
    "Counting documents without a vector",
  )) as { count: number };
  assert.equal(without.count, 0, "every document has a vector");
}

/** The dead letters of a run, by id of the document. */
export async function deadLettersOf(
  cluster: Cluster,
  run: string,
): Promise<Map<string, { code: string; reason: string }>> {
  await cluster.demand({ method: "POST", path: "/csplade-dead-letters/_refresh" }, "Refreshing");
  const body = (await cluster.demand(
    {
      method: "POST",
      path: "/csplade-dead-letters/_search",
      body: { size: 1_000, query: { term: { run } } },
    },
    "Reading dead letters",
  )) as { hits: { hits: { _source: { id: string; code: string; reason: string } }[] } };
  return new Map(body.hits.hits.map(({ _source }) => [_source.id, _source]));
}

/** The indices behind an alias. */
export async function behind(cluster: Cluster, alias: string): Promise<string[]> {
  const answer = await cluster.send({ method: "GET", path: pathOf(alias, "_alias") });
  return Object.keys(answer.body as object);
}

/** Deletes the indices whose names begin with a prefix. */
export async function discardIndices(cluster: Cluster, prefix: string): Promise<void> {
  const answer = await cluster.send({
    method: "GET",
    path: `/${prefix}*`,
    query: { filter_path: "*.aliases" },
  });
  for (const index of Object.keys((answer.body as object | undefined) ?? {})) {
    await cluster.send({ method: "DELETE", path: pathOf(index) });
  }
}
