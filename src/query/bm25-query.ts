/**
 * The words of a question as a BM25 query over the text fields that were encoded.
 *
 * `combined_fields` scores the fields as if they were one text, which is what BEIR's title +
 * text convention means, and comes closest to bm25s on the concatenated text; where a cluster
 * lacks it, `multi_match` adds up the fields' own scores.
 */
import type { Cluster } from "../cluster/cluster.js";
import type { ClusterResponse } from "../cluster/request.js";
import { ADDED_WORD, type AddedWord } from "./lexical.js";
import type { QueryClause } from "./query-clause.js";

/** Clusters that were found to lack `combined_fields`. */
const withoutCombinedFields = new WeakSet<Cluster>();

/**
 * Sends what `send` makes of the BM25 query; once more with another query where the cluster
 * turns out to lack the better one, which is remembered.
 * @param added words besides, that count for less (`boost`).
 */
export async function withBm25Query(
  cluster: Cluster,
  text: string,
  fields: readonly string[],
  send: (query: QueryClause) => Promise<ClusterResponse>,
  added: readonly AddedWord[] = [],
): Promise<ClusterResponse> {
  const combined = fields.length > 1 && !withoutCombinedFields.has(cluster);
  const answer = await send(expandedQuery(text, added, fields, combined));
  if (!combined || answer.status < 400) return answer;
  const refusal = JSON.stringify(answer.body);
  if (!refusal.includes("[combined_fields]")) return answer;
  // Fields of several analyzers are refused too, which says nothing of the cluster.
  if (/unknown query|no \[query\] registered/.test(refusal)) withoutCombinedFields.add(cluster);
  return await send(expandedQuery(text, added, fields, false));
}

function expandedQuery(
  text: string,
  added: readonly AddedWord[],
  fields: readonly string[],
  combined: boolean,
): QueryClause {
  const own = bm25Query(text, fields, combined);
  if (added.length === 0) return own;
  const others = added.map(({ word, boost }) =>
    bm25Query(word, fields, combined, { boost, _name: ADDED_WORD + word }),
  );
  return { bool: { should: [own, ...others], minimum_should_match: 1 } };
}

/**
 * BM25 over one field, or over several as one text (`combined`) or each by itself.
 * @param options of the query, such as `boost`.
 */
export function bm25Query(
  text: string,
  fields: readonly string[],
  combined: boolean,
  options: Readonly<Record<string, unknown>> = {},
): QueryClause {
  const [only] = fields;
  if (fields.length === 1 && only !== undefined) {
    return { match: { [only]: { query: text, ...options } } };
  }
  return combined
    ? { combined_fields: { query: text, fields, ...options } }
    : { multi_match: { query: text, fields, type: "most_fields", ...options } };
}

/** BM25 within a filter that scores nothing. */
export function filtered(
  bm25: QueryClause,
  filter: QueryClause | readonly QueryClause[] | undefined,
): QueryClause {
  return filter === undefined ? bm25 : { bool: { must: [bm25], filter } };
}

/** A text cut to what a cluster searches in one query. */
export interface FittedText {
  readonly text: string;
  /** Words in it, at most. */
  readonly words: number;
  /** Sentence for people, if words were left out. */
  readonly notes: readonly string[];
}

/**
 * What the standard tokenizer makes one token of at most: a character of Chinese and its like,
 * an emoji, up to 255 characters of any other word.
 */
const WORD =
  /[\p{sc=Han}\p{sc=Hira}\p{sc=Kana}\p{sc=Thai}\p{sc=Hang}\p{Extended_Pictographic}]|[\p{L}\p{N}\p{M}]{1,255}/gu;

/** Clauses set aside for what else is in the query. */
const ASIDE = 24;

/**
 * Keeps as many words as fit: every word is a clause in each field. BM25 has no weights before
 * it meets the index, so it is the end that goes, as it does when a model's input is too long.
 * @param others clauses of the same query that are not these words.
 */
export function fitText(
  text: string,
  fields: readonly string[],
  max_clause_count: number,
  others: number,
): FittedText {
  const room = Math.max(1, Math.floor((max_clause_count - others - ASIDE) / fields.length));
  let words = 0;
  for (const match of text.matchAll(WORD)) {
    words += 1;
    if (words <= room) continue;
    return {
      text: text.slice(0, match.index),
      words: room,
      notes: [
        `BM25 searches only the first ${room} words of the question: the cluster takes ` +
          `${max_clause_count} clauses in one query (indices.query.bool.max_clause_count).`,
      ],
    };
  }
  return { text, words, notes: [] };
}
