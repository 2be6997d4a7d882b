/** The evaluation gate from the command line: `--require` and `--no-worse-than`, of `eval` and `reindex`. */
import { CspladeError } from "../errors/csplade-error.js";
import type { Evaluation } from "../evaluate/evaluate.js";
import type { JudgedQueries } from "../evaluate/beir.js";
import {
  judgeSystem,
  parseRequirement,
  type GateVerdict,
  type Requirement,
} from "../evaluate/gate.js";
import type { MetricName } from "../evaluate/metrics.js";
import { readResults } from "../evaluate/saved-evaluation.js";

/** What is demanded, from the command line. */
export interface GateFlags {
  /** `METRIC>=VALUE` with commas. */
  readonly require?: string;
  /** True where `--no-worse-than` is not given. */
  readonly worseThan?: string | true;
  /** Further metrics that are shown. */
  readonly metrics?: readonly MetricName[];
}

/** Metrics that an evaluation has to have. */
export function demandedMetrics({ metrics = [], require }: GateFlags): MetricName[] {
  return [...new Set([...metrics, ...requirementsOf(require).map(({ metric }) => metric)])];
}

/**
 * What judges evaluations as the flags say; undefined where nothing is demanded.
 * @param orBm25 BM25 on the same index is the reference where nothing else is demanded.
 * @throws CspladeError `usage`, `file_invalid`.
 */
export async function gateOf(
  flags: GateFlags,
  judged: Pick<JudgedQueries, "qrels">,
  orBm25 = false,
): Promise<((evaluation: Pick<Evaluation, "csplade" | "bm25">) => GateVerdict) | undefined> {
  const { worseThan } = flags;
  const require = requirementsOf(flags.require);
  if (typeof worseThan === "string") {
    const metrics = demandedMetrics(flags);
    const { results: reference } = await readResults(worseThan, { ...judged, metrics });
    return ({ csplade }) => judgeSystem(csplade, { require, reference });
  }
  if (require.length > 0) return ({ csplade }) => judgeSystem(csplade, { require });
  if (!orBm25) return undefined;
  return ({ csplade, bm25 }) =>
    judgeSystem(csplade, { require, reference: { name: "BM25", per_query: bm25.per_query } });
}

/** @throws CspladeError `usage`. */
function requirementsOf(text: string | undefined): readonly Requirement[] {
  return (text?.split(",") ?? []).map((part) => {
    const requirement = parseRequirement(part);
    if (requirement !== undefined) return requirement;
    throw new CspladeError("usage", `"${part}" is no requirement.`, {
      hint: "They are METRIC>=VALUE with commas, the value from 0 to 1: --require 'ndcg@10>=0.40,recall@100>=0.8'",
    });
  });
}
