/** A search's answer for other programs: JSON, a hit a line, or a run in TREC's format. */
import { formatRun } from "../evaluate/run-file.js";
import { JsonObject } from "../json/json-object.js";
import type { NamedHit } from "../searcher/named-hit.js";
import type { Answer } from "../searcher/searcher.js";

/** How an answer is printed: for people with terms or as a table, or for programs. */
export const outputs = ["text", "table", "json", "ndjson", "trec"] as const;

/** One of {@link outputs}. */
export type Output = (typeof outputs)[number];

/** An answer as JSON, in which each `source` is the document's own text. */
export function answerText({ hits, ...answer }: Answer, fields?: readonly string[]): string {
  const texts = hits.map((hit) => hitText(hit, fields));
  return JsonObject.of(answer).with([["hits", `[${texts.join(",")}]`]]);
}

/** Hits as lines of JSON. */
export function hitLines({ hits }: Answer, fields?: readonly string[]): string[] {
  return hits.map((hit) => hitText(hit, fields));
}

/**
 * The ranking as lines of a run.
 * @param query id of the question in the run.
 * @throws CspladeError `file_invalid` for ids that the format cannot hold.
 */
export function runText({ hits, mode, reranking }: Answer, query: string): string {
  // Reranked hits have scores of two scales: what ranks them is their place.
  const byPlace = reranking?.done === true;
  const ranked = hits.map(({ id, score }, i) => ({ id, score: byPlace ? -i : score }));
  return formatRun(
    new Map([[query, ranked]]),
    `csplade-${mode}${byPlace ? "-reranked" : ""}`,
  ).trimEnd();
}

function hitText(
  { source, source_text, ...hit }: NamedHit,
  fields: readonly string[] | undefined,
): string {
  const stored = source_text ?? JSON.stringify(source);
  return JsonObject.of(hit).with([["source", fields === undefined ? stored : cut(stored, fields)]]);
}

/** The fields that were asked for as they are written; of `a.b` the whole `a`. */
function cut(stored: string, fields: readonly string[]): string {
  const read = JsonObject.read(stored);
  if (!("object" in read)) return stored;
  const wanted = new Set(fields.flatMap((field) => [field, field.split(".", 1)[0] ?? field]));
  return read.object.without((name) => !wanted.has(name)).text;
}
