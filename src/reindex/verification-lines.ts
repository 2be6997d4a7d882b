/** What a verification found, in lines for people. */
import type { Verification } from "./run-record.js";

/** The lines, the first of which says whether it passed. */
export function verificationLines(found: Verification): string[] {
  const { source_documents: source, target_documents, dead_letters, queries } = found;
  const from = source === null ? "" : `${source} in the source, `;
  const lines = [
    `Verification ${found.ok ? "passed" : "failed"}: ${from}${target_documents} in the new index, ${dead_letters} dead letters`,
    ...found.problems.map((problem) => `  ${problem}`),
    `  ${found.source_sampled} of the source looked up: ${found.behind} missing or older, ${found.altered} with another content`,
    found.sampled === 0
      ? "  None was encoded again (csplade reindex --no-workers does with --verify-vectors only)"
      : `  ${found.sampled} encoded again: ${found.differing} with another vector (largest difference ${share(found.worst_difference)})`,
  ];
  if (queries === 0) return lines;
  const overlap = found.overlap_at_10;
  const old = found.found_old === null ? "" : `, before ${share(found.found_old)}`;
  const asked =
    `  ${queries} questions of their words` +
    (found.found_new === null ? "" : `: ${share(found.found_new)} found by them${old}`) +
    (overlap === null ? "" : `; ${share(overlap)} of the first ten hits are those of before`);
  return [...lines, asked];
}

function share(value: number): string {
  return `${Number((100 * value).toPrecision(3))} %`;
}
