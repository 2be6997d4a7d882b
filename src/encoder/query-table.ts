/**
 * The inference-free query side: a weight per token id, looked up instead of computed
 * (`query_weights.json` of a checkpoint; Geng et al. 2411.04403, LightRetriever 2505.12260).
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { sparseVector, type SparseVector } from "../sparse/sparse-vector.js";
import { firstPassage } from "../text/passages.js";
import { createTokenizer, readTokenizerFile, type Tokenizer } from "../text/tokenizer.js";
import type { CheckpointDirectory } from "./checkpoint-directory.js";
import type { EncodedText } from "./encoder-protocol.js";

/** Name of the table's file in a checkpoint directory. */
export const QUERY_TABLE_FILE = "query_weights.json";

const tableSchema = z.object({
  /** Whether a token that occurs twice in a query counts once or twice. */
  repeated: z.enum(["once", "sum"]),
  /** One weight per token id; 0 for tokens that are no terms. */
  weights: z.array(z.number().min(0)),
});

/** A checkpoint's query weights. */
type QueryTable = z.infer<typeof tableSchema>;

/**
 * Reads the table of a checkpoint.
 * @throws CspladeError `model_invalid` if the checkpoint has none or it does not fit the vocabulary.
 */
function readQueryTable({ directory, manifest }: CheckpointDirectory): QueryTable {
  if (!(QUERY_TABLE_FILE in manifest.files)) {
    throw new CspladeError(
      "model_invalid",
      `The checkpoint ${directory} has no table of query weights.`,
      { hint: "Use query.encoder model, or a checkpoint trained with query_encoder: table." },
    );
  }
  const file = path.join(directory, QUERY_TABLE_FILE);
  let table: QueryTable;
  try {
    table = tableSchema.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new CspladeError("model_invalid", `${file} cannot be used: ${messageOf(cause)}`, {
      cause,
    });
  }
  if (table.weights.length !== manifest.vocabulary_size) {
    throw new CspladeError(
      "model_invalid",
      `${file} has ${table.weights.length} weights; the vocabulary has ${manifest.vocabulary_size}.`,
    );
  }
  return table;
}

/** The vector of a query's token ids: its own tokens only, at most `topK`, heaviest first. */
function lookUp(ids: readonly number[], table: QueryTable, topK: number): SparseVector {
  const terms = new Map<number, number>();
  for (const id of ids) {
    const weight = table.weights[id] ?? 0;
    const before = terms.get(id) ?? 0;
    terms.set(id, table.repeated === "sum" ? before + weight : weight);
  }
  const { ids: all, weights } = sparseVector(terms);
  return { ids: all.slice(0, topK), weights: weights.slice(0, topK) };
}

/** A checkpoint's tokenizer and table, ready to encode queries. */
export interface TableEncoder {
  readonly tokenizer: Tokenizer;
  /** Query vectors in the shape the encoder gives them; blank queries have no passage. */
  encode(texts: readonly string[]): EncodedText[];
}

/**
 * Opens the table of a checkpoint. A query is a few tokens: no thread is needed.
 * @throws CspladeError `model_invalid` as {@link readQueryTable}.
 */
export function openQueryTable(checkpoint: CheckpointDirectory): TableEncoder {
  const table = readQueryTable(checkpoint);
  const tokenizer = createTokenizer(readTokenizerFile(checkpoint.tokenizerFile));
  const { max_tokens, top_k } = checkpoint.manifest;
  function encodeOne(text: string): EncodedText {
    const { passages, truncated } = firstPassage(text, tokenizer, max_tokens.query);
    return {
      truncated,
      passages: passages
        .filter(({ ids }) => ids.length > 0)
        .map(({ start, end, ids }) => ({
          start,
          end,
          tokens: ids.length,
          vector: lookUp(ids, table, top_k.query),
        })),
    };
  }
  return { tokenizer, encode: (texts) => texts.map(encodeOne) };
}
