/**
 * The inference-free query side: a weight per token id, looked up instead of computed
 * (`query_weights.json` of a checkpoint; Geng et al. 2411.04403, LightRetriever 2505.12260),
 * and the lexical part, which needs no inference either. A checkpoint has one of them or both.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { z } from "zod";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { LiteralTerms } from "../sparse/literals.js";
import { EMPTY_VECTOR, sparseVector, type SparseVector } from "../sparse/sparse-vector.js";
import { readVocabulary } from "../sparse/vocabulary.js";
import { foreignTexts } from "../text/foreign-text.js";
import { countWords, queryVector } from "../text/lexical-vector.js";
import { readLexicon, type Lexicon } from "../text/lexicon.js";
import { literalTokens, literalWords } from "../text/literal-terms.js";
import { firstPassage, splitPassages, type PassageLimits } from "../text/passages.js";
import { termSpace } from "../text/term-space.js";
import { createTokenizer, readTokenizerFile } from "../text/tokenizer.js";
import type { CheckpointDirectory } from "./checkpoint-directory.js";
import type { EncodedPassage, EncodedText } from "./encoder-protocol.js";
import { hasOwnTerms, type Manifest } from "./manifest.js";

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
 * Reads the table of a checkpoint, if it has one.
 * @throws CspladeError `model_invalid` if it does not fit the vocabulary.
 */
export function readQueryTable({
  directory,
  manifest,
}: CheckpointDirectory): QueryTable | undefined {
  if (!(QUERY_TABLE_FILE in manifest.files)) return undefined;
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

/** The weights of a query's token ids, heaviest first. */
function lookUp(ids: readonly number[], table: QueryTable): SparseVector {
  const terms = new Map<number, number>();
  for (const id of ids) {
    const weight = table.weights[id] ?? 0;
    const before = terms.get(id) ?? 0;
    terms.set(id, table.repeated === "sum" ? before + weight : weight);
  }
  return sparseVector(terms);
}

/** A checkpoint's tokenizer, table and lexicon, ready to encode queries. */
export interface TableEncoder {
  /** False for a checkpoint with neither table nor lexicon: nothing has a vector then. */
  readonly hasWeights: boolean;
  readonly lexicon: Lexicon | undefined;
  /** Query vectors in the shape the encoder gives them; blank queries have no passage. */
  encode(texts: readonly string[]): EncodedText[];
  /** As {@link Encoder.literals}. */
  literals(text: string, limits: PassageLimits): LiteralTerms;
}

/** Whether questions are asked by table: as the configuration says, and where a checkpoint has no other way. */
export function asksByTable({ input }: Pick<Manifest, "input">, config: Config): boolean {
  return config["query.encoder"] === "table" || input?.query.terms === "table";
}

/**
 * Opens the table of a checkpoint. A query is a few tokens: no thread is needed.
 * @throws CspladeError `model_invalid` if it has neither a table nor a lexicon, or one of them
 * cannot be used.
 */
export async function openQueryTable(
  checkpoint: CheckpointDirectory,
  languages: readonly string[] | undefined,
): Promise<TableEncoder> {
  const opened = await openTables(checkpoint, languages);
  if (opened.hasWeights) return opened;
  throw new CspladeError(
    "model_invalid",
    `The checkpoint ${checkpoint.directory} has no table of query weights.`,
    { hint: "Use query.encoder model, or a checkpoint trained with query_encoder: table." },
  );
}

/**
 * Opens what a checkpoint has besides its graph.
 * @param languages those of which questions get weights of the table; undefined: all do.
 * @throws CspladeError `model_invalid`.
 */
export async function openTables(
  checkpoint: CheckpointDirectory,
  languages: readonly string[] | undefined,
): Promise<TableEncoder> {
  const { lexiconFile, manifest, tokenizerFile } = checkpoint;
  // Factors of what a model gives weigh nothing without it.
  const table = hasOwnTerms(manifest) ? undefined : readQueryTable(checkpoint);
  const file = readTokenizerFile(tokenizerFile);
  const tokenizer = createTokenizer(file);
  const vocabulary = readVocabulary(file);
  const lexicon = lexiconFile === undefined ? undefined : readLexicon(lexiconFile);
  const space = lexicon === undefined ? undefined : termSpace(lexicon, vocabulary);
  const topK = manifest.top_k.query;
  const isForeign =
    table === undefined || lexicon === undefined || languages === undefined
      ? () => false
      : await foreignTexts({ languages, lexicon });

  function vectorOf(
    text: string,
    ids: readonly number[],
  ): Pick<EncodedPassage, "vector" | "words"> {
    const rows = table === undefined || isForeign(text) ? EMPTY_VECTOR : lookUp(ids, table);
    if (space !== undefined) {
      return queryVector(countWords(text, space), rows, topK, space);
    }
    return { vector: { ids: rows.ids.slice(0, topK), weights: rows.weights.slice(0, topK) } };
  }

  function encodeOne(text: string): EncodedText {
    const { passages, truncated } = firstPassage(
      text,
      tokenizer,
      manifest.max_tokens.query,
      manifest.input?.query.prefix,
    );
    return {
      truncated,
      passages: passages
        .filter(({ ids }) => ids.length > 0)
        .map(({ start, end, ids }) => ({
          start,
          end,
          tokens: ids.length,
          ...vectorOf(text, ids),
        })),
    };
  }
  return {
    hasWeights: table !== undefined || lexicon !== undefined,
    lexicon,
    encode: (texts) => texts.map(encodeOne),
    literals(text, limits) {
      if (space !== undefined) return literalWords(text, space);
      const { passages } = splitPassages(text, tokenizer, limits);
      return literalTokens(
        text,
        passages.flatMap(({ ids }) => ids),
        vocabulary,
      );
    },
  };
}

/** Which terms stand in the texts; other work of this thread comes in between. @throws the signal's reason. */
export async function literalsByTable(
  table: Pick<TableEncoder, "literals">,
  texts: readonly string[],
  limits: PassageLimits,
  signal: AbortSignal | undefined,
): Promise<LiteralTerms[]> {
  const found: LiteralTerms[] = [];
  for (const text of texts) {
    signal?.throwIfAborted();
    found.push(table.literals(text, limits));
    // A coordinator holds locks that have to be renewed meanwhile.
    await nextTurn();
  }
  return found;
}
