/** A small index of random vectors and words, for tests of how searches rank. */
import assert from "node:assert/strict";
import type { Cluster } from "../../src/cluster/cluster.js";
import { toFeatures } from "../../src/sparse/features.js";
import { luceneStored } from "../../src/sparse/quantize.js";
import { termsOf, type SparseVector } from "../../src/sparse/sparse-vector.js";
import { randomVectors } from "./random-vectors.js";

const WORDS = ["fear", "star", "planet", "ocean", "bread", "winter", "glass", "engine", "quiet"];

/** A document of the index; its id is its position. */
export interface VectorDocument {
  readonly title: string;
  readonly text: string;
  readonly year: number;
  /** Some documents share one. */
  readonly parent: string;
  readonly vector: SparseVector;
  readonly passages: readonly SparseVector[];
}

/** Documents that are the same for the same seed; terms have ids below 400. */
export function vectorDocuments(count: number, seed: number): VectorDocument[] {
  const random = randomVectors(seed);
  return Array.from({ length: count }, (_, i) => ({
    title: `document ${WORDS[i % WORDS.length]}`,
    text: Array.from({ length: 6 }, (__, j) => WORDS[(i * (j + 3) + j) % WORDS.length]).join(" "),
    year: 1900 + (i % 100),
    parent: String(i % Math.ceil(count / 4)),
    vector: random(60, 400),
    passages: [random(30, 400), random(30, 400)],
  }));
}

/** Σ weight · stored weight, as a cluster must score it. */
export function exactScore(query: SparseVector, document: SparseVector): number {
  const weights = new Map(termsOf(query));
  let score = 0;
  for (const [id, weight] of termsOf(document)) {
    score += (weights.get(id) ?? 0) * luceneStored(weight);
  }
  return score;
}

/** Creates and fills the index: `csplade`, nested `csplade_passages.csplade`, text and keywords. */
export async function fillVectorIndex(
  cluster: Cluster,
  index: string,
  documents: readonly VectorDocument[],
  analyzer = "english",
): Promise<void> {
  await cluster.send({ method: "DELETE", path: `/${index}` });
  const vectors = { type: "rank_features" };
  const body = {
    mappings: {
      properties: {
        csplade: vectors,
        csplade_passages: { type: "nested", properties: { csplade: vectors } },
        title: { type: "text", analyzer },
        text: { type: "text", analyzer },
        year: { type: "integer" },
        parent: { type: "keyword" },
        place: { type: "integer" },
      },
    },
  };
  await cluster.demand({ method: "PUT", path: `/${index}`, body }, "Creating the test index");
  const lines = documents.flatMap(({ vector, passages, ...fields }, i) => [
    { index: { _id: String(i) } },
    {
      ...fields,
      place: i,
      csplade: toFeatures(vector),
      csplade_passages: passages.map((passage) => ({ csplade: toFeatures(passage) })),
    },
  ]);
  const answer = (await cluster.demand(
    {
      method: "POST",
      path: `/${index}/_bulk`,
      query: { refresh: true },
      body: lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
    },
    "Filling the test index",
  )) as { errors: boolean };
  assert.equal(answer.errors, false);
}
