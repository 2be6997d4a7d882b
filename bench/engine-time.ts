/**
 * The cluster's own time in the query phase, without HTTP, JSON and fetching documents: what
 * grows with an index, where the rest of a search is the same for every way to search.
 */
import { z } from "zod";
import type { Cluster } from "../src/cluster/cluster.js";
import { pathOf } from "../src/cluster/request.js";
import type { BenchSystem } from "./interleaved.js";

const statsSchema = z.object({
  _all: z.object({
    primaries: z.object({ search: z.object({ query_time_in_millis: z.number() }) }),
  }),
});

/** A system, and the index whose statistics count its searches. */
export interface CountedSystem<Question> extends BenchSystem<Question> {
  readonly index: string;
}

/**
 * Mean milliseconds of a search in the query phase, the least of several rounds. The index's
 * statistics count whole milliseconds over all searches, so systems take turns in blocks.
 */
export async function engineTimes<Question>(
  cluster: Cluster,
  systems: readonly CountedSystem<Question>[],
  questions: readonly Question[],
  rounds: number,
): Promise<number[]> {
  const least = systems.map(() => Infinity);
  for (let round = 0; round < rounds; round++) {
    for (const [place, { index, find }] of systems.entries()) {
      const before = await queryMillis(cluster, index);
      for (const question of questions) await find(question);
      const mean = ((await queryMillis(cluster, index)) - before) / questions.length;
      least[place] = Math.min(least[place] ?? Infinity, mean);
    }
  }
  return least;
}

async function queryMillis(cluster: Cluster, index: string): Promise<number> {
  const stats = await cluster.demand(
    { method: "GET", path: pathOf(index, "_stats", "search") },
    "Reading the index's statistics",
  );
  return statsSchema.parse(stats)._all.primaries.search.query_time_in_millis;
}
