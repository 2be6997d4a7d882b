/** How many documents of a source may be missing from its copy because they could not be taken. */
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { CountedDocuments } from "./missing-documents.js";
import type { RunRecord } from "./run-record.js";

type Counted = Pick<CountedDocuments, "source" | "target" | "dead_letters">;

/** @throws CspladeError `too_many_dead_letters`: the alias stays where it is. */
export function demandFewDeadLetters(
  config: Pick<Config, "reindex.max_dead_letters">,
  { run, alias, target }: Pick<RunRecord, "run" | "alias" | "target">,
  counted: Counted,
): void {
  const problem = tooManyDeadLetters(config, counted);
  if (problem === undefined) return;
  throw new CspladeError(
    "too_many_dead_letters",
    `Of the source of ${target} ${problem} The alias ${alias} stays where it is.`,
    {
      hint: `The reasons are in csplade-dead-letters (run ${run}): mend the documents and resume the run, or allow more with --max-dead-letters SHARE.`,
    },
  );
}

/**
 * Whether more documents could not be taken than `reindex.max_dead_letters` allows.
 * @returns a sentence that says so, or undefined.
 */
export function tooManyDeadLetters(
  config: Pick<Config, "reindex.max_dead_letters">,
  { source, target, dead_letters }: Counted,
): string | undefined {
  const most = config["reindex.max_dead_letters"];
  const all = source ?? target + dead_letters;
  if (dead_letters <= most * all) return undefined;
  return (
    `${dead_letters} of ${all} documents (${percent(dead_letters / all)}) could not be taken and are dead letters; ` +
    `at most ${percent(most)} may be.`
  );
}

/** A share in words: `0.5 %`. */
function percent(share: number): string {
  return `${Number((100 * share).toPrecision(3))} %`;
}
