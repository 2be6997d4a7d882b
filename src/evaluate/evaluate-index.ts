/** Evaluation of an index as it stands: its own fields, its own idf, questions weighed as searches weigh them. */
import type { Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { withExpansion } from "../encoder/expansion.js";
import { CspladeError } from "../errors/csplade-error.js";
import { readIndexModel } from "../index/csplade-index.js";
import { createCorpusIdf, type WordedVector } from "../query/corpus-idf.js";
import type { VectorField } from "../query/query-translator.js";
import { searchedFields } from "../query/searched-fields.js";
import { prune } from "../sparse/prune.js";
import { EMPTY_VECTOR, type SparseVector } from "../sparse/sparse-vector.js";
import type { JudgedQueries } from "./beir.js";
import { evaluate, type Evaluation } from "./evaluate.js";
import type { MetricName } from "./metrics.js";

/** Where questions are asked, and by what. */
export interface EvaluationPlace {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Pick<Encoder, "encodeQueries" | "literals" | "lexicon">;
  readonly signal: AbortSignal;
  /** Told of what is survived. */
  readonly onTrouble: (note: string) => void;
}

/** Questions whose words are counted at the same time. */
const WEIGHED_AT_ONCE = 8;

/** Weighs questions for an index, whose own idf may count, and prunes them. */
export function questionWeigher(
  { config, cluster, encoder, signal, onTrouble }: EvaluationPlace,
  index: string,
  fields: readonly VectorField[],
): (questions: readonly WordedVector[]) => Promise<SparseVector[]> {
  const corpusIdf = createCorpusIdf({
    scale: encoder.lexicon,
    idf: config["query.idf"],
    // Figures must not depend on how busy the cluster is.
    idf_timeout_ms: config["opensearch.request_timeout_ms"],
    onTrouble,
  });
  const pruning = {
    prune_type: config["query.prune_type"],
    prune_ratio: config["query.prune_ratio"],
  };
  return async (questions) => {
    const vectors: SparseVector[] = [];
    for (let at = 0; at < questions.length; at += WEIGHED_AT_ONCE) {
      const some = questions.slice(at, at + WEIGHED_AT_ONCE);
      const target = { cluster, index, fields, signal };
      const weighed = await Promise.all(some.map((each) => corpusIdf.weigh(each, target)));
      vectors.push(...weighed.map(({ vector }) => prune(vector, pruning)));
    }
    return vectors;
  };
}

/**
 * Puts the judged questions to an index.
 * @throws CspladeError as {@link evaluate}; `encode_failed` naming the question.
 */
export async function evaluateIndex(
  place: EvaluationPlace,
  index: string,
  { queries, qrels }: Pick<JudgedQueries, "queries" | "qrels">,
  metrics?: readonly MetricName[],
): Promise<Evaluation> {
  const { cluster, signal } = place;
  const { passages, text_fields } = await readIndexModel(cluster, index, { signal });
  const target = searchedFields({ passages });
  const weigh = questionWeigher(place, index, target.fields);
  return await evaluate({
    cluster,
    index,
    ...target,
    text_fields,
    queries,
    qrels,
    metrics,
    encode: async (texts) => weigh(await encodeQueries(place, texts)),
    signal,
  });
}

/** The questions' vectors, by `query.expansion`. @throws CspladeError `encode_failed` naming the question. */
export async function encodeQueries(
  { config, encoder, signal }: Pick<EvaluationPlace, "config" | "encoder" | "signal">,
  texts: readonly string[],
): Promise<WordedVector[]> {
  const encoded = await encoder.encodeQueries(texts, { signal });
  const whole = encoded.map(({ passages, failure }, i): WordedVector => {
    if (failure !== undefined) {
      throw new CspladeError(
        "encode_failed",
        `The query ${JSON.stringify(texts[i])} cannot be encoded: ${failure}`,
      );
    }
    return passages[0] ?? { vector: EMPTY_VECTOR };
  });
  return await withExpansion(encoder, texts, whole, config["query.expansion"], signal);
}
