/** What judges the new index of a reindexing: `--judgements` and the demands beside it, kept in the run's record. */
import path from "node:path";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import { readJudgements, type JudgedQueries } from "../evaluate/beir.js";
import { evaluateIndex, type EvaluationPlace } from "../evaluate/evaluate-index.js";
import { demandGood } from "../evaluate/gate.js";
import type { Judge } from "../reindex/reindex.js";
import type { RunGate } from "../reindex/run-record.js";
import { demandedMetrics, gateOf, type GateFlags } from "./eval-gate.js";

/** The options of a gate; `judgements` is false with `--no-judgements`. */
export interface GateOptions extends Pick<GateFlags, "require" | "worseThan"> {
  readonly judgements?: string | false;
}

/**
 * The gate that is asked for; null for none, undefined where nothing is said.
 * @throws CspladeError `usage` for demands without judgements.
 */
export function askedGate({
  judgements,
  require,
  worseThan,
}: GateOptions): RunGate | null | undefined {
  if (typeof judgements === "string") {
    return {
      judgements: path.resolve(judgements),
      ...(require === undefined ? {} : { require }),
      ...(typeof worseThan === "string" ? { no_worse_than: path.resolve(worseThan) } : {}),
    };
  }
  if (require !== undefined || typeof worseThan === "string") {
    throw new CspladeError("usage", "--require and --no-worse-than need judgements.", {
      hint: "Name a folder with queries.jsonl and qrels/test.tsv: --judgements FOLDER.",
    });
  }
  return judgements === false ? null : undefined;
}

/** A gate's files, read. */
export interface OpenGate {
  readonly judged: JudgedQueries;
  readonly flags: GateFlags;
  readonly judge: Awaited<ReturnType<typeof gateOf>>;
}

/** Reads the files of a gate. @throws CspladeError what is wrong with them. */
export async function openGate({ judgements, require, no_worse_than }: RunGate): Promise<OpenGate> {
  const flags: GateFlags = {
    ...(require === undefined ? {} : { require }),
    ...(no_worse_than === undefined ? {} : { worseThan: no_worse_than }),
  };
  const judged = await readJudgements(judgements);
  return { judged, flags, judge: await gateOf(flags, judged, true) };
}

/**
 * What judges new indices by a gate.
 * @param openAnother opens an encoder for the questions where that of `place` encodes none.
 */
export function judgeBy(
  place: EvaluationPlace & { readonly encoder: Encoder },
  { judged, flags, judge }: OpenGate,
  openAnother: () => Promise<Encoder>,
): Judge {
  return async (target) => {
    const own = place.encoder.encodes.queries ? undefined : await openAnother();
    try {
      const asked = { ...place, encoder: own ?? place.encoder };
      const evaluation = await evaluateIndex(asked, target, judged, demandedMetrics(flags));
      const verdict = judge?.(evaluation) ?? { passed: true, checks: [] };
      demandGood(
        verdict,
        `The new index ${target}`,
        "The alias was not moved. Look into it with csplade eval --index, and resume the run with other demands or with --no-judgements.",
      );
      return verdict.checks.map(({ sentence }) => sentence);
    } finally {
      await own?.close();
    }
  };
}
