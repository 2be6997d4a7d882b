/** Reads the answer to a `_bulk` request and judges it, whole and item by item. */
import { z } from "zod";
import { reasonOf, type ClusterResponse } from "../cluster/request.js";
import type { BulkOperation, WriteResult } from "./bulk-operation.js";

/** What one item's answer means. */
export type ItemVerdict =
  | { readonly kind: "settled"; readonly result: WriteResult }
  /** To be sent again later. `busy`: the cluster is overloaded; `away`: a part of it is missing. */
  | { readonly kind: "retry"; readonly cause: "busy" | "away"; readonly reason: string };

/** What a whole answer means. */
export type BulkVerdict =
  /** One verdict per operation, in order. */
  | { readonly kind: "items"; readonly items: readonly ItemVerdict[] }
  | { readonly kind: "retry"; readonly cause: "busy" | "away"; readonly reason: string }
  /** The request needs to be smaller. `hard`: the limit on request sizes, which stays as it is. */
  | { readonly kind: "too_large"; readonly hard: boolean; readonly reason: string }
  /** Sending it again cannot help (credentials, a proxy's page). */
  | { readonly kind: "refused"; readonly reason: string };

const itemSchema = z.object({
  _id: z.string(),
  status: z.number().int(),
  result: z.string().optional(),
  error: z.unknown().optional(),
});

const answerSchema = z.object({
  items: z.array(z.object({ index: itemSchema, create: itemSchema, delete: itemSchema }).partial()),
});

const AWAY_STATUS = new Set([502, 503, 504]);

/** Failures between two nodes; the cluster reports them with status 500. */
const NODE_TROUBLE =
  /^(node_disconnected_exception|node_not_connected_exception|connect_transport_exception|already_closed_exception|receive_timeout_transport_exception|node_closed_exception)/;

/** A disk over its flood-stage watermark; the cluster lifts the block when there is space again. */
const DISK_BLOCK = /cluster_block_exception.*\/12\/index read-only/;

/** Judges an answer to the operations that were sent. */
export function judgeAnswer(
  operations: readonly BulkOperation[],
  answer: ClusterResponse,
): BulkVerdict {
  const { status, body } = answer;
  if (status < 200 || status >= 300) return judgeRefusal(status, reasonOf(body));
  const parsed = answerSchema.safeParse(body);
  if (!parsed.success)
    return { kind: "refused", reason: "its answer is not that of a bulk request" };
  const { items } = parsed.data;
  if (items.length !== operations.length) {
    return {
      kind: "refused",
      reason: `it answered ${operations.length} operations with ${items.length} results`,
    };
  }
  const verdicts: ItemVerdict[] = [];
  for (const [i, operation] of operations.entries()) {
    const item = items[i]?.[operation.action];
    if (item?._id !== operation.id) {
      return {
        kind: "refused",
        reason: `its results are out of step: "${operation.id}" was sent (${operation.action}), "${item?._id ?? "another action"}" came back`,
      };
    }
    verdicts.push(judgeItem(operation, item));
  }
  return { kind: "items", items: verdicts };
}

function judgeRefusal(status: number, reason: string): BulkVerdict {
  if (status === 413) return { kind: "too_large", hard: true, reason: `413: ${reason}` };
  if (reason.includes("circuit_breaking_exception")) {
    return { kind: "too_large", hard: false, reason };
  }
  const cause = transientCause(status, reason);
  const said = `${status}: ${reason}`;
  return cause === undefined
    ? { kind: "refused", reason: said }
    : { kind: "retry", cause, reason: said };
}

function judgeItem(operation: BulkOperation, item: z.infer<typeof itemSchema>): ItemVerdict {
  const { status } = item;
  const hasError = item.error !== undefined;
  if (!hasError && (status < 300 || (status === 404 && operation.action === "delete"))) {
    return settled({ status: "written", result: item.result ?? "unknown" });
  }
  const reason = reasonOf({ error: item.error });
  const conditional =
    operation.version !== undefined ||
    operation.if_seq_no !== undefined ||
    operation.action === "create";
  if (status === 409 && conditional) {
    return settled({ status: "skipped", reason });
  }
  const cause = reason.startsWith("circuit_breaking_exception")
    ? "busy"
    : transientCause(status, reason);
  if (cause !== undefined) return { kind: "retry", cause, reason };
  return settled({ status: "failed", reason });
}

function transientCause(status: number, reason: string): "busy" | "away" | undefined {
  if (status === 429) return "busy";
  if (AWAY_STATUS.has(status) || status === 408) return "away";
  if (status === 403 && DISK_BLOCK.test(reason)) return "away";
  return NODE_TROUBLE.test(reason) ? "away" : undefined;
}

function settled(result: WriteResult): ItemVerdict {
  return { kind: "settled", result };
}
