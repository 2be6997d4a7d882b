/** Runs as files in TREC's format: `query Q0 document rank score tag`, one hit a line. */
import { writeFile } from "node:fs/promises";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { rank, type RankedDocument, type Run } from "./run.js";

/**
 * A run in TREC's format, ranks from 1.
 * @param tag name of the system, without white space.
 * @throws CspladeError `file_invalid` for an id that the format cannot hold (white space).
 */
export function formatRun(run: Run, tag: string): string {
  const lines: string[] = [];
  for (const [query, documents] of run) {
    demandWord(query);
    for (const [index, { id, score }] of rank(documents).entries()) {
      demandWord(id);
      lines.push(`${query} Q0 ${id} ${index + 1} ${score} ${tag}\n`);
    }
  }
  return lines.join("");
}

/**
 * Reads TREC's format; the rank column is ignored, as trec_eval does.
 * @param file name for messages.
 * @throws CspladeError `file_invalid` naming the line: not six columns, a score that is no
 * number, or a document twice for one query.
 */
export function parseRun(text: string, file: string): Run {
  const run = new Map<string, Map<string, number>>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const columns = line.trim().split(/\s+/);
    const [query = "", , id = "", , rawScore = ""] = columns;
    const score = Number(rawScore);
    const wrong =
      columns.length !== 6
        ? `has ${columns.length} columns instead of 6`
        : !Number.isFinite(score)
          ? `has the score ${rawScore}`
          : run.get(query)?.has(id) === true
            ? `repeats document ${id} for query ${query}`
            : undefined;
    if (wrong !== undefined) {
      throw new CspladeError("file_invalid", `${file}, line ${index + 1} ${wrong}.`, {
        hint: "A run has lines such as: 1 Q0 doc7 1 12.5 csplade",
      });
    }
    const documents = run.get(query) ?? new Map<string, number>();
    run.set(query, documents.set(id, score));
  }
  return new Map([...run].map(([query, documents]) => [query, rank(documentsOf(documents))]));
}

/**
 * Writes a run.
 * @throws CspladeError `file_invalid` (see {@link formatRun}), or when it cannot be written.
 */
export async function writeRun(file: string, run: Run, tag: string): Promise<void> {
  const text = formatRun(run, tag);
  try {
    await writeFile(file, text);
  } catch (cause) {
    throw new CspladeError(
      "file_invalid",
      `The run ${file} cannot be written: ${messageOf(cause)}`,
      { cause },
    );
  }
}

function documentsOf(scores: ReadonlyMap<string, number>): RankedDocument[] {
  return Array.from(scores, ([id, score]) => ({ id, score }));
}

function demandWord(id: string): void {
  if (/^\S+$/.test(id)) return;
  throw new CspladeError(
    "file_invalid",
    `The id ${JSON.stringify(id)} cannot be written to a run file: its columns are separated by white space.`,
  );
}
