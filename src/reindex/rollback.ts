/** Takes a swap back: the alias goes to where it led before the last run moved it. */
import type { Cluster } from "../cluster/cluster.js";
import { CspladeError } from "../errors/csplade-error.js";
import { indicesBehind, lookUpName, moveAlias } from "../cluster/alias.js";
import type { RunStore } from "./run-store.js";

/** What a rollback did. */
export interface RollbackSummary {
  readonly run: string;
  readonly alias: string;
  /** Where the alias led. */
  readonly from: readonly string[];
  /** Where it leads now. */
  readonly to: readonly string[];
}

/**
 * Moves an alias back.
 * @throws CspladeError `index_not_found` if no run moved the alias, or its old indices are gone;
 *   `index_invalid` if the alias leads elsewhere by now.
 */
export async function rollBack(
  cluster: Cluster,
  store: RunStore,
  name: string,
): Promise<RollbackSummary> {
  const runs = await store.listRuns();
  const run = runs.find(
    (each) =>
      (each.run === name || each.alias === name) &&
      each.previous !== undefined &&
      each.state !== "rolled_back",
  );
  if (run?.previous === undefined) {
    throw new CspladeError("index_not_found", `No run moved the alias ${name}.`, {
      hint: "csplade status lists the runs.",
    });
  }
  const { alias, target, previous } = run;
  const from = await indicesBehind(cluster, alias);
  if (from.length !== 1 || from[0] !== target) {
    throw new CspladeError(
      "index_invalid",
      `The alias ${alias} leads to ${from.join(", ") || "nothing"}, not to ${target}, where the run ${run.run} moved it.`,
      { hint: "Somebody else moved it since: move it by hand." },
    );
  }
  if (previous.length === 0) {
    throw new CspladeError(
      "index_not_found",
      `The alias ${alias} led nowhere before the run ${run.run}: there is nothing to go back to.`,
    );
  }
  for (const index of previous) {
    if ((await lookUpName(cluster, index)).kind === "index") continue;
    throw new CspladeError(
      "index_not_found",
      `The index ${index}, to which ${alias} led before, does not exist any more.`,
    );
  }
  const members = run.previous_alias ?? previous.map((index) => ({ index }));
  await moveAlias(cluster, alias, from, members);
  await store.updateRun(run.run, (now) => ({ ...now, state: "rolled_back" }));
  return { run: run.run, alias, from, to: previous };
}
