/** Values of the options of `csplade eval`. */
import { InvalidArgumentError } from "commander";
import { parseMetric, type MetricName } from "../evaluate/metrics.js";
import { searchModes, type SearchMode } from "../query/search-mode.js";
import { isPruning, pruneTypes, type PruneOptions } from "../sparse/prune.js";

/** What can be compared: the modes of search, and plain search with a reranker behind it. */
export const comparable = [...searchModes, "rerank"] as const;

/** One of {@link comparable}. */
export type Comparable = SearchMode | "rerank";

/** `--modes`: names with commas, or `all`. */
export function parseModes(text: string): readonly Comparable[] {
  if (text === "all") return comparable;
  return text.split(",").map((part) => {
    const mode = comparable.find((known) => known === part.trim());
    if (mode !== undefined) return mode;
    throw new InvalidArgumentError(`Modes are ${comparable.join(", ")}, or all.`);
  });
}

/** A grid that shows where quality begins to fall, whatever the weights of a model are like. */
const AUTO_PRUNINGS: readonly PruneOptions[] = [
  ...[0.05, 0.1, 0.15, 0.2, 0.3].map((prune_ratio) => ({
    prune_type: "max_ratio" as const,
    prune_ratio,
  })),
  ...[128, 64, 32].map((prune_ratio) => ({ prune_type: "top_k" as const, prune_ratio })),
];

/** `--prunings`: `TYPE:RATIO` with commas, or `auto`. */
export function parsePrunings(text: string): readonly PruneOptions[] {
  if (text === "auto") return AUTO_PRUNINGS;
  return text.split(",").map((part) => {
    const [type = "", ratio = ""] = part.trim().split(":");
    const prune_type = pruneTypes.find((known) => known === type && known !== "none");
    if (prune_type !== undefined && ratio !== "") {
      const pruning = { prune_type, prune_ratio: Number(ratio) };
      if (isPruning(pruning)) return pruning;
    }
    const types = pruneTypes.filter((known) => known !== "none").join(", ");
    throw new InvalidArgumentError(
      `${part} is no pruning: they are TYPE:RATIO with ${types}, such as max_ratio:0.1 or top_k:64.`,
    );
  });
}

/** `--kept-quality`: above 0, at most 1. */
export function parseShare(text: string): number {
  const share = Number(text);
  if (share > 0 && share <= 1) return share;
  throw new InvalidArgumentError("It must be above 0 and at most 1, such as 0.99.");
}

/** `--metrics`: names with commas. */
export function parseMetrics(text: string): readonly MetricName[] {
  return text.split(",").map((part) => {
    const name = parseMetric(part.trim().toLowerCase());
    if (name !== undefined) return name;
    throw new InvalidArgumentError(
      `${part} is no metric: they are ndcg@K, mrr@K, map@K, recall@K, precision@K, K from 1 to 1000.`,
    );
  });
}
