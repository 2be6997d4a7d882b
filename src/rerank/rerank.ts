/** The stage behind a search: its first hits in a reranker's order, the others behind them as they were. */
import { messageOf } from "../errors/csplade-error.js";
import type { Reranker } from "./reranker.js";

/** Most hits that are looked at again. */
export const MOST_RERANKED = 1_000;

/** Characters of a question and of a text that are handed over; no cross-encoder reads as many. */
const QUESTION_CHARACTERS = 10_000;
const TEXT_CHARACTERS = 50_000;

/** How the stage is run. */
export interface RerankLimits {
  /** Hits to look at again, 1 to {@link MOST_RERANKED}. */
  readonly hits: number;
  /** How long that may take, milliseconds. */
  readonly timeoutMs: number;
  /** Aborted when that is over, of several that share it; without it the time begins now. */
  readonly late?: AbortSignal;
  readonly signal?: AbortSignal | undefined;
}

/** What became of it. */
export interface Reranking {
  /** The reranker's name. */
  readonly by: string;
  /** Hits that were looked at. */
  readonly hits: number;
  /** False: the order is the search's own, for the reason given. */
  readonly done: boolean;
  readonly reason?: string;
  readonly took_ms: number;
}

/** Hits in their new order. */
export interface Reranked<T> {
  /** Those looked at have the reranker's score. */
  readonly hits: readonly (T & { readonly rerank_score?: number })[];
  readonly reranking: Reranking;
}

/**
 * Reorders the first hits. Equal scores keep their order. A reranker that fails or is late changes nothing.
 * @param textsOf gives the texts of the hits that are looked at, within the time that reranking has.
 * @throws the signal's reason, when the caller gives up.
 */
export async function rerank<T extends object>(
  reranker: Reranker,
  question: string,
  hits: readonly T[],
  textsOf: (
    hits: readonly T[],
    signal: AbortSignal,
  ) => readonly string[] | Promise<readonly string[]>,
  { hits: most, timeoutMs, late = AbortSignal.timeout(timeoutMs), signal }: RerankLimits,
): Promise<Reranked<T>> {
  const started = performance.now();
  const first = hits.slice(0, most);
  const outcome = (reason?: string): Reranking => ({
    by: reranker.name,
    hits: first.length,
    done: reason === undefined,
    ...(reason === undefined ? {} : { reason }),
    took_ms: Math.round(performance.now() - started),
  });
  if (first.length === 0) return { hits, reranking: outcome() };
  const all = signal === undefined ? late : AbortSignal.any([signal, late]);
  try {
    const texts = await textsOf(first, all);
    const scores = await reranker.score(
      question.slice(0, QUESTION_CHARACTERS).toWellFormed(),
      texts.map((text) => text.slice(0, TEXT_CHARACTERS).toWellFormed()),
      all,
    );
    const scored = first.map((hit, i) => ({ ...hit, rerank_score: scores[i] ?? -Infinity }));
    scored.sort((a, b) => b.rerank_score - a.rerank_score);
    return { hits: [...scored, ...hits.slice(most)], reranking: outcome() };
  } catch (thrown) {
    signal?.throwIfAborted();
    const reason = late.aborted
      ? `it was not done after ${timeoutMs} ms (rerank.timeout_ms)`
      : messageOf(thrown);
    return { hits, reranking: outcome(reason) };
  }
}
