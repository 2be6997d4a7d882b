/** A search's answer, printed for people. */
import pc from "picocolors";
import type { ExplainedTerm } from "../query/explanation.js";
import type { LiteralSpan } from "../query/literal-spans.js";
import type { Answer, NamedHit } from "../searcher/searcher.js";
import { printLine } from "./outcome.js";

/** Terms shown for each hit. */
const SHOWN_TERMS = 10;

/** Characters of a text shown for each hit, and how many of them before its best word. */
const SHOWN_TEXT = 160;
const BEFORE_BEST = 50;

/** Prints an answer; `explain` shows every term with both of its weights. */
export function printAnswer(answer: Answer, explain: boolean): void {
  for (const note of answer.notes) printLine(pc.yellow(note));
  if (answer.truncated)
    printLine(pc.yellow("The question is longer than the model reads; its end was cut off."));
  if (explain) {
    const terms = answer.query_terms.map(({ term, weight }) => `${term} ${weight.toFixed(2)}`);
    printLine(`${pc.dim("query:")} ${terms.join(pc.dim(" · "))}`);
  }
  if (answer.hits.length === 0) printLine("No document matches.");
  answer.hits.forEach((hit, index) => printHit(hit, index + 1, answer, explain));
  const about = answer.total_relation === "gte" ? "at least " : "";
  printLine(
    pc.dim(
      `${about}${answer.total} documents match; ${answer.took_ms} ms in the cluster ` +
        `(${answer.mode}, ${answer.dialect})`,
    ),
  );
}

function printHit(hit: NamedHit, rank: number, answer: Answer, explain: boolean): void {
  const title = hit.source[answer.title_field];
  const heading = typeof title === "string" ? title : hit.id;
  printLine(
    `${String(rank).padStart(2)}. ${pc.bold(heading)}  ${pc.cyan(scoreText(hit))}  ${pc.dim(hit.id)}`,
  );
  for (const field of answer.text_fields.filter((name) => name !== answer.title_field)) {
    const text = hit.source[field];
    if (typeof text === "string" && text !== "") {
      printLine(`    ${snippet(text, hit.spans[field] ?? [])}`);
    }
  }
  if (explain) {
    for (const term of hit.terms) {
      printLine(
        `    ${marked(term).padEnd(22)} ${term.query_weight.toFixed(3)} × ${term.document_weight.toFixed(3)} = ` +
          pc.cyan(term.contribution.toFixed(3)),
      );
    }
    return;
  }
  const shown = hit.terms
    .slice(0, SHOWN_TERMS)
    .map((term) => `${marked(term)} ${pc.cyan(term.contribution.toFixed(2))}`);
  const rest = hit.terms.slice(SHOWN_TERMS);
  const sum = rest.reduce((total, term) => total + term.contribution, 0);
  if (rest.length > 0) shown.push(pc.dim(`${rest.length} more ${sum.toFixed(2)}`));
  if (shown.length > 0) printLine(`    ${shown.join(pc.dim(" · "))}`);
}

/** Fused scores are small, and say little without the places they come from. */
function scoreText({ score, fusion }: NamedHit): string {
  if (fusion === undefined) return score.toFixed(3);
  const { bm25, csplade } = fusion;
  const places = [
    bm25 === undefined ? "not in BM25" : `BM25 #${bm25.rank}`,
    csplade === undefined ? "not in CSPLADE" : `CSPLADE #${csplade.rank}`,
  ];
  return `${score.toFixed(4)}  ${places.join(", ")}`;
}

/** The stretch of a text around its best literal word, words underlined. */
function snippet(text: string, spans: readonly LiteralSpan[]): string {
  const best = spans.reduce<LiteralSpan | undefined>(
    (top, span) => (top === undefined || span.contribution > top.contribution ? span : top),
    undefined,
  );
  const last = Math.max(0, text.length - SHOWN_TEXT);
  const from = wordStart(text, Math.min(last, Math.max(0, (best?.start ?? 0) - BEFORE_BEST)));
  const to = Math.min(text.length, from + SHOWN_TEXT);
  let shown = from > 0 ? "…" : "";
  let at = from;
  for (const { start, end } of spans) {
    if (start < at || end > to) continue;
    shown += text.slice(at, start) + pc.underline(text.slice(start, end));
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
