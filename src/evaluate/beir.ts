/**
 * A test collection in BEIR's form: a folder with `corpus.jsonl`, `queries.jsonl` and
 * `qrels/test.tsv` (Thakur et al. 2021, arXiv 2104.08663). The corpus is not read here: it
 * goes through the same ingest as any other documents.
 */
import { createReadStream, existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { linesOf } from "../sources/lines.js";
import type { Qrels } from "./metrics.js";

/** One test query. */
export interface TestQuery {
  readonly id: string;
  readonly text: string;
}

/** Judged queries. */
export interface JudgedQueries {
  /** Name of the folder. */
  readonly name: string;
  /** The judged queries, in the order of `queries.jsonl`. */
  readonly queries: readonly TestQuery[];
  readonly qrels: Qrels;
}

/** A test collection, without its documents. */
export interface TestCollection extends JudgedQueries {
  /** Path of `corpus.jsonl`. */
  readonly corpus: string;
}

const id = z.union([z.string().min(1), z.number().int()]).transform(String);
const querySchema = z.object({ _id: id, text: z.string() });

/** Longest line of `queries.jsonl`, bytes. */
const MAX_LINE_BYTES = 1_048_576;

/**
 * Reads a collection.
 * @throws CspladeError `source_unreadable` for a missing file; `file_invalid` naming the line
 * that is malformed or repeats a query, or a judged query that has no text.
 */
export async function readCollection(folder: string): Promise<TestCollection> {
  const corpus = path.join(folder, "corpus.jsonl");
  if (!existsSync(corpus)) throw notBeir(folder, "there is no corpus.jsonl");
  return { ...(await readJudgements(folder)), corpus };
}

/**
 * Reads the judged queries of a folder, `queries.jsonl` and `qrels/test.tsv`; it needs no corpus.
 * @throws CspladeError as {@link readCollection}.
 */
export async function readJudgements(folder: string): Promise<JudgedQueries> {
  const qrelsFile = path.join(folder, "qrels", "test.tsv");
  const qrels = parseQrels(await readText(folder, qrelsFile), qrelsFile);
  const queriesFile = path.join(folder, "queries.jsonl");
  const queries = await readQueries(folder, queriesFile, qrels);
  if (queries.length < qrels.size) {
    const known = new Set(queries.map((query) => query.id));
    const missing = [...qrels.keys()].find((query) => !known.has(query));
    throw new CspladeError(
      "file_invalid",
      `${qrelsFile} judges the query ${missing ?? ""}, which ${queriesFile} lacks.`,
    );
  }
  return { name: path.basename(path.resolve(folder)), queries, qrels };
}

/**
 * Reads `qrels/test.tsv`: query id, document id, grade, separated by tabs, after a header.
 * @param file name for messages.
 * @throws CspladeError `file_invalid` naming the line.
 */
export function parseQrels(text: string, file: string): Qrels {
  const qrels = new Map<string, Map<string, number>>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const [query = "", document = "", grade = "", ...more] = line.split("\t");
    const isGrade = /^-?\d+$/.test(grade.trim());
    if (index === 0 && !isGrade && more.length === 0) continue;
    if (query === "" || document === "" || !isGrade || more.length > 0) {
      throw new CspladeError(
        "file_invalid",
        `${file}, line ${index + 1} is not "query id, document id, whole-number score" separated by tabs: ${JSON.stringify(line.slice(0, 100))}.`,
      );
    }
    const judged = qrels.get(query) ?? new Map<string, number>();
    qrels.set(query, judged.set(document, Number(grade)));
  }
  if (qrels.size === 0) throw new CspladeError("file_invalid", `${file} judges no query.`);
  return qrels;
}

async function readQueries(folder: string, file: string, qrels: Qrels): Promise<TestQuery[]> {
  const queries = new Map<string, TestQuery>();
  if (!existsSync(file)) throw notBeir(folder, "there is no queries.jsonl");
  for await (const line of linesOf(createReadStream(file), MAX_LINE_BYTES)) {
    const text = line.content?.toString("utf8");
    if (text === undefined) {
      throw new CspladeError(
        "file_invalid",
        `${file}, line ${line.number} is ${line.bytes} bytes long; a query has at most ${MAX_LINE_BYTES}.`,
      );
    }
    if (text.trim() === "") continue;
    const query = parseQuery(text, file, line.number);
    if (queries.has(query.id)) {
      throw new CspladeError(
        "file_invalid",
        `${file}, line ${line.number} repeats the query ${query.id}.`,
      );
    }
    // Collections such as MS MARCO hold far more queries than are judged.
    if (qrels.has(query.id)) queries.set(query.id, query);
  }
  return [...queries.values()];
}

function parseQuery(text: string, file: string, line: number): TestQuery {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (cause) {
    throw new CspladeError(
      "file_invalid",
      `${file}, line ${line} is not JSON: ${messageOf(cause)}`,
      {
        cause,
      },
    );
  }
  const parsed = querySchema.safeParse(raw);
  if (!parsed.success) {
    throw new CspladeError(
      "file_invalid",
      `${file}, line ${line} is not a query with "_id" and "text": ${z.prettifyError(parsed.error)}`,
    );
  }
  return { id: parsed.data._id, text: parsed.data.text };
}

async function readText(folder: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw notBeir(folder, messageOf(cause));
  }
}

function notBeir(folder: string, reason: string): CspladeError {
  return new CspladeError(
    "source_unreadable",
    `${folder} is not a test collection in BEIR's form: ${reason}.`,
    { hint: "It needs corpus.jsonl, queries.jsonl and qrels/test.tsv." },
  );
}
