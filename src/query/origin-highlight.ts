/** Where added terms came from, as fragments of fields: the shape of a cluster's `highlight`. */
import type { OriginSpan } from "../sparse/literals.js";

/** Longest fragment around one word, characters of the field. */
const FRAGMENT = 150;

/** Fragments of a field. */
const MOST_FRAGMENTS = 5;

/**
 * Fragments by field, words within `<em>`; what stands between is escaped, so that it can be put into
 * a page. Fields without such words are left out.
 * @param texts of the fields that the spans are about.
 */
export function originHighlight(
  spans: readonly OriginSpan[],
  texts: Readonly<Record<string, string>>,
): Readonly<Record<string, readonly string[]>> {
  const fields = Object.entries(texts).flatMap(([field, text]) => {
    const own = spans
      .filter((span) => span.field === field)
      .sort((a, b) => a.start - b.start || b.end - a.end);
    return own.length === 0 ? [] : [[field, fragmentsOf(text, own)] as const];
  });
  return Object.fromEntries(fields);
}

function fragmentsOf(text: string, spans: readonly OriginSpan[]): string[] {
  const groups: OriginSpan[][] = [];
  for (const span of spans) {
    const [first] = groups.at(-1) ?? [];
    if (first !== undefined && span.end - first.start <= FRAGMENT) groups.at(-1)?.push(span);
    else groups.push([span]);
  }
  // The words that matter most have a place; fragments stay in the order of the text.
  const shareOf = (group: readonly OriginSpan[]) => Math.max(...group.map(({ share }) => share));
  const shown = new Set(
    groups.toSorted((a, b) => shareOf(b) - shareOf(a)).slice(0, MOST_FRAGMENTS),
  );
  return groups.filter((group) => shown.has(group)).map((group) => fragmentOf(text, group));
}

function fragmentOf(text: string, spans: readonly OriginSpan[]): string {
  const first = spans[0]?.start ?? 0;
  const last = Math.max(...spans.map(({ end }) => end));
  const around = Math.max(0, Math.floor((FRAGMENT - (last - first)) / 2));
  let fragment = "";
  let at = wordStart(text, first - around, first);
  for (const { start, end } of spans) {
    if (start < at) continue;
    fragment += `${escaped(text.slice(at, start))}<em>${escaped(text.slice(start, end))}</em>`;
    at = end;
  }
  return fragment + escaped(text.slice(at, wordEnd(text, last + around, at)));
}

/** Where the first whole word from `at` on begins; no later than `most`. */
function wordStart(text: string, at: number, most: number): number {
  if (at <= 0) return 0;
  const blank = text.slice(at - 1, most).search(/\s/);
  return blank < 0 ? most : at + blank;
}

/** Where the last whole word before `at` ends; no earlier than `least`. */
function wordEnd(text: string, at: number, least: number): number {
  if (at >= text.length) return text.length;
  const words = text.slice(least, at + 1);
  return least + Math.max(0, words.search(/\s\S*$/));
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#x27;",
};

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (sign) => ENTITIES[sign] ?? sign);
}
