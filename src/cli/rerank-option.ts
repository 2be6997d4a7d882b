/** `--rerank N`: how many first hits a reranker looks at. */
import { InvalidArgumentError } from "commander";
import { MOST_RERANKED } from "../rerank/rerank.js";

/** Reads it; 0 is none. */
export function parseReranked(text: string): number {
  const hits = Number(text);
  if (Number.isInteger(hits) && hits >= 0 && hits <= MOST_RERANKED) return hits;
  throw new InvalidArgumentError(`It is a whole number from 0 to ${MOST_RERANKED}.`);
}
