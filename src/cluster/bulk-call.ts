/** What a bulk writer keeps of a call until all of its operations have an outcome. */
import type { CspladeError } from "../errors/csplade-error.js";
import type { BulkOperation, WriteResult } from "./bulk-operation.js";

/** One call of `write`. */
export interface Call {
  readonly results: (WriteResult | undefined)[];
  open: number;
  /** Set once the call cannot succeed any more; it ends when nothing of it is in flight. */
  doomed: CspladeError | undefined;
  readonly end: () => void;
}

/** One operation of a call that has no outcome yet. */
export interface Pending {
  readonly operation: BulkOperation;
  readonly call: Call;
  readonly slot: number;
  /** Its lines in a `_bulk` body, once they are written. */
  lines: string | undefined;
  bytes: number;
  troubledSince: number | undefined;
  loneRefusals: number;
  /** Most operations of a request that has this one: fewer each time such a request is invalid. */
  company: number;
}
