/** Reads the answer to a `_bulk` request and judges it, whole and item by item. */
import { z } from "zod";
import { judgeRefusal, type Refusal } from "./refusal.js";
import { reasonOf, type ClusterResponse } from "./request.js";
import type { BulkOperation, WriteResult } from "./bulk-operation.js";

/** What one item's answer means. */
export type ItemVerdict =
  | { readonly kind: "settled"; readonly result: WriteResult }
  /** To be sent again later. `busy`: the cluster is overloaded; `away`: a part of it is missing. */
  | { readonly kind: "retry"; readonly cause: "busy" | "away"; readonly reason: string }
  /** Sending it again cannot help, and the document is not at fault. */
  | { readonly kind: "refused"; readonly refusal: Refusal; readonly reason: string };

/** What a whole answer means. */
export type BulkVerdict =
  /** One verdict per operation, in order. */
  | { readonly kind: "items"; readonly items: readonly ItemVerdict[] }
  | { readonly kind: "retry"; readonly cause: "busy" | "away"; readonly reason: string }
  /** The request needs to be smaller. `hard`: the limit on request sizes, which stays as it is. */
  | { readonly kind: "too_large"; readonly hard: boolean; readonly reason: string }
  /** One operation of it makes the whole request invalid: its id or version. */
  | { readonly kind: "invalid"; readonly reason: string }
  /** Sending it again cannot help (credentials, a proxy's page). */
  | { readonly kind: "refused"; readonly refusal: Refusal; readonly reason: string };

const itemSchema = z.object({
  _id: z.string(),
  status: z.number().int(),
  result: z.string().optional(),
  _version: z.number().optional(),
  _seq_no: z.number().optional(),
  _primary_term: z.number().optional(),
  error: z.unknown().optional(),
});

const answerSchema = z.object({
  items: z.array(z.object({ index: itemSchema, create: itemSchema, delete: itemSchema }).partial()),
});

/** Judges an answer to the operations that were sent. */
export function judgeAnswer(
  operations: readonly BulkOperation[],
  answer: ClusterResponse,
): BulkVerdict {
  const { status, body } = answer;
  if (status < 200 || status >= 300) return judgeWhole(status, body);
  const parsed = answerSchema.safeParse(body);
  if (!parsed.success) return strange("its answer is not that of a bulk request");
  const { items } = parsed.data;
  if (items.length !== operations.length) {
    return strange(`it answered ${operations.length} operations with ${items.length} results`);
  }
  const verdicts: ItemVerdict[] = [];
  for (const [i, operation] of operations.entries()) {
    const item = items[i]?.[operation.action];
    if (item?._id !== operation.id) {
      return strange(
        `its results are out of step: "${operation.id}" was sent (${operation.action}), "${item?._id ?? "another action"}" came back`,
      );
    }
    verdicts.push(judgeItem(operation, item));
  }
  return { kind: "items", items: verdicts };
}

const bodySchema = z.object({ error: z.unknown() });

/** An answer that no cluster gives: what stands before it answered. */
function strange(reason: string): BulkVerdict {
  return { kind: "refused", refusal: judgeRefusal(400, undefined), reason };
}

function judgeWhole(status: number, body: unknown): BulkVerdict {
  const reason = `${status}: ${reasonOf(body)}`;
  if (status === 413) return { kind: "too_large", hard: true, reason };
  if (reasonOf(body).startsWith("circuit_breaking_exception")) {
    return { kind: "too_large", hard: false, reason: reasonOf(body) };
  }
  const refusal = judgeRefusal(status, bodySchema.safeParse(body).data?.error);
  switch (refusal.meaning) {
    case "busy":
    case "away":
      return { kind: "retry", cause: refusal.meaning, reason };
    case "document":
      return { kind: "invalid", reason: reasonOf(body) };
    case "final":
      return { kind: "refused", refusal, reason };
  }
}

function judgeItem(operation: BulkOperation, item: z.infer<typeof itemSchema>): ItemVerdict {
  const { status, error } = item;
  if (error === undefined && (status < 300 || (status === 404 && operation.action === "delete"))) {
    const { _version: version, _seq_no: seq_no, _primary_term: primary_term } = item;
    return settled({
      status: "written",
      result: item.result ?? "unknown",
      ...(version === undefined || seq_no === undefined || primary_term === undefined
        ? {}
        : { place: { version, seq_no, primary_term } }),
    });
  }
  const reason = reasonOf({ error });
  const conditional =
    operation.version !== undefined ||
    operation.if_seq_no !== undefined ||
    operation.action === "create";
  if (status === 409 && conditional) {
    return settled({ status: "skipped", reason });
  }
  const refusal = judgeRefusal(status, error);
  switch (refusal.meaning) {
    case "busy":
    case "away":
      return { kind: "retry", cause: refusal.meaning, reason };
    case "document":
      return settled({ status: "failed", reason });
    case "final":
      return { kind: "refused", refusal, reason };
  }
}

function settled(result: WriteResult): ItemVerdict {
  return { kind: "settled", result };
}
