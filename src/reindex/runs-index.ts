/** The index of the records of runs and slices, and what is said where it is missing. */
import { CspladeError } from "../errors/csplade-error.js";
import { noCounts } from "./run-record.js";

/** The index of the records. */
export const RUNS_INDEX = "csplade-runs";

/** Settings and mapping that it is created with. */
export const RUNS_BODY = {
  settings: { index: { number_of_shards: 1, auto_expand_replicas: "0-1" } },
  mappings: {
    dynamic: false,
    properties: {
      "@timestamp": { type: "date" },
      kind: { type: "keyword" },
      run: { type: "keyword" },
      alias: { type: "keyword" },
      state: { type: "keyword" },
      number: { type: "integer" },
      pass: { type: "integer" },
      created_at: { type: "date" },
      updated_at: { type: "date" },
      worker: { type: "keyword" },
      documents: { type: "double" },
      counts: {
        properties: Object.fromEntries(
          Object.keys(noCounts()).map((name) => [name, { type: "long" }]),
        ),
      },
      documents_done: { type: "long" },
      documents_planned: { type: "long" },
      documents_per_second: { type: "double" },
      tokens_per_second: { type: "double" },
      dead_letters: { type: "long" },
      lag_seconds: { type: "double" },
    },
  },
};

/** @param what what could not be done without the records. */
export function recordsGone(what: string): CspladeError {
  return new CspladeError("index_not_found", `${what}: the index ${RUNS_INDEX} is not there.`, {
    hint: "If it was deleted while the run was under way, delete the new index too and begin again with csplade reindex --new.",
  });
}
