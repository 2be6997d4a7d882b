/** A search's answer, printed for people. */
import pc from "picocolors";
import type { ExplainedTerm } from "../query/explanation.js";
import type { LiteralSpan } from "../query/literal-spans.js";
import type { NamedHit } from "../searcher/named-hit.js";
import type { Answer } from "../searcher/searcher.js";
import type { OriginSpan } from "../sparse/literals.js";
import { printLine } from "./outcome.js";

/** Terms shown for each hit. */
const SHOWN_TERMS = 10;

/** Characters of a text shown for each hit, and how many of them before its best word. */
const SHOWN_TEXT = 160;
const BEFORE_BEST = 50;

/** How an answer is shown. */
export interface Shown {
  /** Every term with both of its weights. */
  readonly explain?: boolean;
  /** Fields of the documents to show beside their texts; in a table, in place of the title. */
  readonly fields?: readonly string[] | undefined;
  /** Hits that were skipped. */
  readonly from?: number;
}

/** Prints an answer with the terms of each hit. */
export function printAnswer(answer: Answer, shown: Shown = {}): void {
  const { explain = false, from = 0 } = shown;
  for (const note of answer.notes) printLine(pc.yellow(note));
  if (answer.truncated)
    printLine(pc.yellow("The question is longer than the model reads; its end was cut off."));
  if (explain) {
    const terms = answer.query_terms.map(({ term, weight }) => `${term} ${weight.toFixed(2)}`);
    printLine(`${pc.dim("query:")} ${terms.join(pc.dim(" · "))}`);
  }
  if (answer.hits.length === 0) printLine("No document matches.");
  answer.hits.forEach((hit, index) => printHit(hit, from + index + 1, answer, shown));
  printFooter(answer);
}

/** Longest value in a cell of a table, characters. */
const CELL = 60;

/** Prints an answer as a table: a hit a line. */
export function printTable(answer: Answer, { fields, from = 0 }: Shown = {}): void {
  for (const note of answer.notes) printLine(pc.yellow(note));
  const names = fields ?? [answer.title_field];
  const rows = answer.hits.map((hit, index) => [
    String(from + index + 1),
    hit.score.toFixed(3),
    hit.id,
    ...names.map((name) => valueText(hit.source, name).slice(0, CELL)),
  ]);
  const table = [["rank", "score", "id", ...names], ...rows];
  const widths = table[0]?.map((_, column) =>
    Math.max(...table.map((row) => row[column]?.length ?? 0)),
  );
  for (const [i, row] of table.entries()) {
    // Numbers stand to the right.
    const cells = row.map((cell, column) =>
      column < 2 ? cell.padStart(widths?.[column] ?? 0) : cell.padEnd(widths?.[column] ?? 0),
    );
    const line = cells.join("  ").trimEnd();
    printLine(i === 0 ? pc.bold(line) : line);
  }
  printFooter(answer);
}

/** A field's value, `a.b` within an object, as one line. */
function valueText(source: Readonly<Record<string, unknown>>, name: string): string {
  let value: unknown = source[name];
  if (value === undefined) {
    value = name
      .split(".")
      .reduce<unknown>(
        (at, part) => (at === null || typeof at !== "object" ? undefined : Reflect.get(at, part)),
        source,
      );
  }
  if (value === undefined) return "";
  return (typeof value === "string" ? value : JSON.stringify(value)).replace(/\s+/g, " ");
}

function printFooter(answer: Answer): void {
  if (answer.aggregations !== undefined) printLine(JSON.stringify(answer.aggregations, null, 2));
  const about = answer.total_relation === "gte" ? "at least " : "";
  printLine(
    pc.dim(
      `${about}${answer.total} documents match; ${answer.took_ms} ms in the cluster ` +
        `(${answer.mode === "lexical" ? "lexical" : `${answer.mode}, ${answer.dialect}`})`,
    ),
  );
}

function printHit(
  hit: NamedHit,
  rank: number,
  answer: Answer,
  { explain = false, fields = [] }: Shown,
): void {
  const title = hit.source[answer.title_field];
  const heading = typeof title === "string" ? title : hit.id;
  printLine(
    `${String(rank).padStart(2)}. ${pc.bold(heading)}  ${pc.cyan(scoreText(hit))}  ${pc.dim(hit.id)}`,
  );
  for (const field of answer.text_fields.filter((name) => name !== answer.title_field)) {
    const text = hit.source[field];
    if (typeof text === "string" && text !== "") {
      printLine(`    ${snippet(text, hit.spans[field] ?? [], originsIn(hit, field))}`);
    }
  }
  for (const field of fields) {
    if (field === answer.title_field || answer.text_fields.includes(field)) continue;
    printLine(`    ${pc.dim(`${field}:`)} ${valueText(hit.source, field)}`);
  }
  if (hit.added_words !== undefined) {
    printLine(`    ${hit.added_words.map((word) => `+${word}`).join(pc.dim(" · "))}`);
  }
  if (explain) {
    for (const term of hit.terms) {
      printLine(
        `    ${marked(term).padEnd(22)} ${term.query_weight.toFixed(3)} × ${term.document_weight.toFixed(3)} = ` +
          pc.cyan(term.contribution.toFixed(3)) +
          (term.origin === undefined ? "" : `  ${pc.dim("from")} ${wordsOf(term.origin)}`),
      );
    }
    return;
  }
  const shown = hit.terms.slice(0, SHOWN_TERMS).map((term) => {
    const from = term.origin === undefined ? "" : ` (${wordsOf(term.origin)})`;
    return `${marked(term)} ${pc.cyan(term.contribution.toFixed(2))}${from}`;
  });
  const rest = hit.terms.slice(SHOWN_TERMS);
  const sum = rest.reduce((total, term) => total + term.contribution, 0);
  if (rest.length > 0) shown.push(pc.dim(`${rest.length} more ${sum.toFixed(2)}`));
  if (shown.length > 0) printLine(`    ${shown.join(pc.dim(" · "))}`);
}

/** Fused scores are small, and say little without the places they come from. */
function scoreText({ score, rerank_score, ...hit }: NamedHit): string {
  const own = searchScoreText({ score, ...hit });
  return rerank_score === undefined ? own : `${rerank_score.toFixed(4)} reranked, was ${own}`;
}

function searchScoreText({ score, fusion }: Pick<NamedHit, "score" | "fusion">): string {
  if (fusion === undefined) return score.toFixed(3);
  const { bm25, csplade, dense } = fusion;
  const places = [
    bm25 === undefined ? "not in BM25" : `BM25 #${bm25.rank}`,
    csplade === undefined ? "not in CSPLADE" : `CSPLADE #${csplade.rank}`,
    ...(dense === undefined ? [] : [`dense #${dense.rank}`]),
  ];
  return `${score.toFixed(4)}  ${places.join(", ")}`;
}

/** The words that a term came from, in the order of the text; one that stands there twice once. */
function wordsOf(origin: readonly OriginSpan[]): string {
  return [...new Set(origin.map(({ text }) => text))].map((word) => pc.yellow(word)).join(", ");
}

/** Places of the words in a field that its added terms came from. */
function originsIn({ terms }: NamedHit, field: string): OriginSpan[] {
  return terms.flatMap(({ origin = [] }) => origin).filter((span) => span.field === field);
}

/** The stretch of a text around its best literal word: those underlined, and yellow what added terms came from. */
function snippet(
  text: string,
  spans: readonly LiteralSpan[],
  origins: readonly OriginSpan[],
): string {
  const best = spans.reduce<LiteralSpan | undefined>(
    (top, span) => (top === undefined || span.contribution > top.contribution ? span : top),
    undefined,
  );
  const last = Math.max(0, text.length - SHOWN_TEXT);
  const first = best?.start ?? origins[0]?.start ?? 0;
  const from = wordStart(text, Math.min(last, Math.max(0, first - BEFORE_BEST)));
  const to = Math.min(text.length, from + SHOWN_TEXT);
  const literal = new Set(spans.map(({ start }) => start));
  const came = new Set(origins.map(({ start }) => start));
  let shown = from > 0 ? "…" : "";
  let at = from;
  for (const { start, end } of [...spans, ...origins].sort((a, b) => a.start - b.start)) {
    if (start < at || end > to) continue;
    const word = text.slice(start, end);
    const underlined = literal.has(start) ? pc.underline(word) : word;
    shown += text.slice(at, start) + (came.has(start) ? pc.yellow(underlined) : underlined);
    at = end;
  }
  return (shown + text.slice(at, to) + (to < text.length ? "…" : "")).replace(/\s+/g, " ");
}

function wordStart(text: string, at: number): number {
  return at === 0 ? 0 : text.lastIndexOf(" ", at) + 1;
}

/** Expansions carry a +, so that it shows without colour. */
function marked(term: ExplainedTerm): string {
  return term.literal ? term.term : `+${term.term}`;
}
