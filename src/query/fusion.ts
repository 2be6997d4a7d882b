/**
 * Several rankings made one. Both techniques give what the cluster gives for the same
 * rankings, so that it does not matter who fuses.
 */
import type { RankingPart } from "./search-result.js";

/** A document of a ranking. */
export interface Ranked {
  /** Unique among the documents of all rankings. */
  readonly key: string;
  readonly score: number;
}

/** A document of the fused ranking. */
export interface Fused extends Ranked {
  /** Its place in each ranking, in their order; nothing where a ranking lacks it. */
  readonly parts: readonly (RankingPart | undefined)[];
}

/** Scores of normalized results that would be 0: a hit is never worth as little as a miss. */
const LEAST_SCORE = 0.001;

/**
 * Reciprocal rank fusion: Σ 1 / (rank_constant + rank), ranks from 1 (Cormack et al. 2009).
 * @param rankings each best first.
 */
export function reciprocalRank(
  rankings: readonly (readonly Ranked[])[],
  rank_constant: number,
): Fused[] {
  return fused(rankings, (_, index) => 1 / (rank_constant + index + 1));
}

/**
 * Weighted sum of scores that are spread over 0…1 first, as OpenSearch's `normalization-processor`
 * does with `min_max` and `arithmetic_mean`: the best of a ranking gets 1, the last 0.001, and all
 * get 1 where all score the same. Missing from a ranking is worth 0.
 * @param weights one per ranking, together 1.
 */
export function minMax(
  rankings: readonly (readonly Ranked[])[],
  weights: readonly number[],
): Fused[] {
  return fused(rankings, (ranking, index, which) => {
    const best = ranking[0]?.score ?? 0;
    const last = ranking.at(-1)?.score ?? 0;
    const score = ranking[index]?.score ?? 0;
    const normal = best === last ? 1 : (score - last) / (best - last);
    return (weights[which] ?? 0) * (normal === 0 ? LEAST_SCORE : normal);
  });
}

function fused(
  rankings: readonly (readonly Ranked[])[],
  shareOf: (ranking: readonly Ranked[], index: number, which: number) => number,
): Fused[] {
  const parts = new Map<string, (RankingPart | undefined)[]>();
  for (const [which, ranking] of rankings.entries()) {
    for (const [index, { key, score }] of ranking.entries()) {
      const places = parts.get(key) ?? rankings.map(() => undefined);
      places[which] = { rank: index + 1, score, share: shareOf(ranking, index, which) };
      parts.set(key, places);
    }
  }
  return Array.from(parts, ([key, places]) => ({
    key,
    score: places.reduce((sum, place) => sum + (place?.share ?? 0), 0),
    parts: places,
  })).sort((a, b) => b.score - a.score);
}
