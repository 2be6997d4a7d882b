/**
 * What a refusal of a cluster means: is a document at fault, is there too much to do, will it pass,
 * or must somebody mend something first? It is told by the types of the errors, because a document's
 * own text may stand in their reasons. One table for bulk answers, whole and per item, for documents
 * that are read, and for waiting; docs/operations.md shows it.
 */
import { z } from "zod";
import type { ErrorCode } from "../errors/csplade-error.js";

/**
 * `document`: this document can never be taken. `busy`: sent too much at once. `away`: a part of the
 * cluster is missing, or writes are forbidden for now. `final`: waiting does not help, and no
 * document is at fault.
 */
export type Meaning = "document" | "busy" | "away" | "final";

/** A refusal and what it means. */
export interface Refusal {
  readonly meaning: Meaning;
  /** Code of the error, where work ends by it. */
  readonly code: ErrorCode;
  readonly hint?: string;
  /** Whether the table names it; else the status alone decided. */
  readonly named: boolean;
}

interface Row {
  /** Whole type of the error. */
  readonly type: RegExp;
  /** Start of its reason, where the type alone does not tell. */
  readonly reason?: RegExp;
  readonly meaning: Meaning;
  readonly code?: ErrorCode;
  readonly hint?: string;
}

/** Ids of blocks that forbid reading (7) and looking at metadata (9): somebody set them on purpose. */
const LASTING_BLOCK = /\/(7|9)\//;

/** The first row that fits decides. */
const ROWS: readonly Row[] = [
  {
    type: /^cluster_block_exception$/,
    reason: LASTING_BLOCK,
    meaning: "final",
    hint: "Lift the block (index.blocks.read, index.blocks.metadata) and start again.",
  },
  // 4 closed, 5 and 6 read-only, 8 writes, 12 and 13 the disk is full; and a cluster that starts.
  { type: /^(cluster_block|index_closed)_exception$/, meaning: "away" },
  { type: /^(circuit_breaking|.*rejected_execution)_exception$/, meaning: "busy" },
  {
    type: /^(node_(disconnected|not_connected|closed)|connect_transport|already_closed|(receive_timeout|send_request)_transport|unavailable_shards|no_shard_available_action|primary_missing_action|shard_not_found|illegal_index_shard_state|index_shard_(closed|not_started|recovering)|engine_closed|process_cluster_event_timeout|(master|cluster_manager)_not_discovered|retry_on_(primary|replica)|i_o|io|file_system|translog)_exception$/,
    meaning: "away",
  },
  {
    // An alias that only we write through has a name that no index can have: see `write-alias.ts`.
    type: /^(index_not_found|invalid_index_name)_exception$/,
    meaning: "final",
    code: "index_not_found",
    hint: "It was deleted, or replaced by another index of its name, while it was written. Start again to create it.",
  },
  {
    type: /^security_exception$/,
    meaning: "final",
    hint: "Check the credentials and the privileges of their role (docs/operations.md).",
  },
  {
    type: /^routing_missing_exception$/,
    meaning: "final",
    code: "index_invalid",
    hint: "Its mapping demands a routing, which csplade ingest does not give: use an index without _routing.required.",
  },
  {
    type: /^illegal_argument_exception$/,
    reason: /^pipeline with id \[/,
    meaning: "final",
    hint: "Starting again puts csplade's own pipelines back; put back one of your own, or take it out of the index's settings.",
  },
  {
    type: /^illegal_argument_exception$/,
    reason: /^(no write index is defined for alias|alias \[.*\] has more than one index)/i,
    meaning: "final",
    code: "index_invalid",
    hint: "Name one of its indices.",
  },
  {
    type: /^illegal_argument_exception$/,
    reason: /^only write ops with an op_type of create are allowed in data streams/,
    meaning: "final",
    code: "index_invalid",
    hint: "Documents of a data stream cannot be replaced: use an index.",
  },
  {
    type: /^script_exception$/,
    reason: /^compile error/,
    meaning: "final",
    hint: "A script of the index's ingest pipeline does not compile: mend it and start again.",
  },
  {
    type: /^(mapper_parsing|document_parsing|strict_dynamic_mapping|fail_processor|script|json_parse|json_e_o_f|x_content_parse|x_content_e_o_f|parsing|parse|not_x_content|stream_constraints|input_coercion|max_bytes_length_exceeded|number_format|date_time_parse|action_request_validation|version_conflict_engine)_exception$/,
    meaning: "document",
  },
  {
    type: /^illegal_argument_exception$/,
    reason:
      /\b(fields?|values?|featureValue|mapper|mapping|terms?|_?id|version|documents?|nested|object|convert|parse|date|number|string|boolean|ip)\b/i,
    meaning: "document",
  },
];

/** Errors that only wrap another one. */
const WRAPPERS =
  /^(exception|runtime_exception|ingest_processor_exception|compound_processor_exception|remote_transport_exception)$/;

const errorSchema = z.object({
  type: z.string(),
  reason: z.string().nullish(),
  caused_by: z.unknown().optional(),
});

/**
 * Says what a refusal means. Nothing unknown is a document's fault.
 * @param status the answer's, or the item's, status of 400 or above.
 * @param error the `error` of the answer or the item, if it has one.
 */
export function judgeRefusal(status: number, error: unknown): Refusal {
  let found = errorSchema.safeParse(error).data;
  let inPipeline = false;
  for (let depth = 0; depth < 10 && found !== undefined && WRAPPERS.test(found.type); depth++) {
    inPipeline ||= found.type.includes("processor");
    const inner = errorSchema.safeParse(found.caused_by).data;
    if (inner === undefined) break;
    found = inner;
  }
  if (found !== undefined) {
    const { type, reason } = found;
    const row = ROWS.find(
      (each) => each.type.test(type) && (each.reason?.test(reason ?? "") ?? true),
    );
    if (row !== undefined) {
      const { meaning, code = "cluster_rejected", hint } = row;
      return { meaning, code, named: true, ...(hint === undefined ? {} : { hint }) };
    }
    if (inPipeline) return { meaning: "document", code: "document_rejected", named: true };
  }
  return byStatus(status);
}

function byStatus(status: number): Refusal {
  if (status === 429) return { meaning: "busy", code: "cluster_busy", named: false };
  if (status === 408 || status >= 500) {
    return { meaning: "away", code: "cluster_busy", named: false };
  }
  const hint = "Check the credentials, and whether a proxy stands before the cluster.";
  return { meaning: "final", code: "cluster_rejected", named: false, hint };
}

/** A block on writing in the words of an error: whoever set it may lift it again. */
export const PASSING_BLOCK = /cluster_block_exception.*\/(4|5|6|8|12|13)\//;
