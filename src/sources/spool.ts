/**
 * Turns whatever the user names (files of any format that is known, packed or not, standard input, a
 * BEIR folder, a folder of pages, a dead-letter file) into plain files of lines that chunks can point into. A file that
 * is one already stays where it is.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { bulkDocuments } from "./bulk-body.js";
import { replayLines } from "./dead-letters.js";
import { rowDocuments, type ColumnType } from "./delimited.js";
import { tooLarge, type FoundDocument } from "./found-document.js";
import { writeHit } from "./hit-line.js";
import { jsonValues, type ValueLayout } from "./json-values.js";
import { folderDocuments, hasPages } from "./page-folder.js";
import { parquetDocuments } from "./parquet.js";
import { sniffStream } from "./sniff-file.js";
import type { FileFormat } from "./sniff.js";
import type { SourceFile } from "./source-file.js";
import { withoutMark } from "./unpack.js";

/** Plain files of lines, ready to be scanned. */
export interface Spooled {
  /** In the order they were named. */
  readonly files: readonly SourceFile[];
  /** Bytes of all files together. */
  readonly bytes: number;
  /** Deletes what was unpacked. */
  remove(): Promise<void>;
}

/** What to spool and where. */
export interface SpoolRequest {
  /** Files, BEIR folders, folders of Markdown, HTML and text files, or `-` for standard input. */
  readonly inputs: readonly string[];
  /** True if the inputs are dead-letter files whose documents are to be tried again. */
  readonly fromDeadLetters: boolean;
  /** The format of all inputs; told from their first bytes if it is not given. */
  readonly format?: FileFormat | undefined;
  /** Types of columns that are no strings. */
  readonly types?: Readonly<Record<string, ColumnType>> | undefined;
  /** Largest document, bytes. */
  readonly maxDocumentBytes: number;
  /** Folder for unpacked files; made when needed. */
  readonly folder: string;
  readonly stdin: Readable;
  readonly signal?: AbortSignal;
}

/**
 * Prepares the inputs.
 * @throws CspladeError `source_unsupported` for an input whose format cannot be taken, with what it
 *   looks like; `source_unreadable`; both name the input.
 */
export async function spool(request: SpoolRequest): Promise<Spooled> {
  const files: SourceFile[] = [];
  let bytes = 0;
  const remove = () => rm(request.folder, { recursive: true, force: true });
  try {
    for (const [number, input] of request.inputs.entries()) {
      const file = await sourceFile(input, number, request);
      files.push(file);
      bytes += (await stat(file.path)).size - file.start;
    }
  } catch (thrown) {
    await remove();
    throw thrown;
  }
  return { files, bytes, remove };
}

async function sourceFile(
  input: string,
  number: number,
  request: SpoolRequest,
): Promise<SourceFile> {
  const folder = await folderOf(input, request);
  const file = input === "-" || folder !== undefined ? "-" : await fileOf(input);
  try {
    if (folder !== undefined) return await ofFolder(input, folder, number, request);
    if (request.fromDeadLetters) return await replayed(input, file, number, request);
    return await readable(input, file, number, request);
  } catch (cause) {
    if (request.signal?.aborted === true)
      throw new CspladeError("aborted", "Reading was cancelled.");
    if (cause instanceof CspladeError && cause.message.includes(input)) throw cause;
    const code = cause instanceof CspladeError ? cause.code : "source_unreadable";
    const hint = cause instanceof CspladeError ? cause.hint : undefined;
    throw new CspladeError(code, `${input} cannot be read: ${messageOf(cause)}`, {
      ...(hint === undefined ? {} : { hint }),
      cause,
    });
  }
}

/** The folder of pages that an input is; a BEIR folder is none, unless it is said to be one. */
async function folderOf(
  input: string,
  { format, fromDeadLetters }: SpoolRequest,
): Promise<string | undefined> {
  const isFolder = input !== "-" && (await stat(input).catch(() => undefined))?.isDirectory();
  if (isFolder !== true || fromDeadLetters) {
    if (format !== "folder") return undefined;
    throw new CspladeError("source_unsupported", `${input} is no folder.`);
  }
  const folder = path.resolve(input);
  const isBeir = format !== "folder" && (await corpusOf(folder)) !== undefined;
  return !isBeir && (await hasPages(folder)) ? folder : undefined;
}

async function ofFolder(
  name: string,
  folder: string,
  number: number,
  request: SpoolRequest,
): Promise<SourceFile> {
  const documents = asHits(folderDocuments(folder, request.maxDocumentBytes));
  const target = await write(documents, `${number}-folder`, request);
  const origin = { name, format: "folder", compression: "none" } as const;
  return { path: target, lines: "hit", start: 0, origin, spooled: true };
}

async function replayed(
  name: string,
  file: string,
  number: number,
  request: SpoolRequest,
): Promise<SourceFile> {
  const lines = replayLines(file) as AsyncIterable<Buffer>;
  const target = await write(lines, `${number}-dead-letters`, request);
  const origin = { name, format: "ndjson", compression: "none" } as const;
  return { path: target, lines: "hit", start: 0, origin, spooled: true };
}

async function readable(
  name: string,
  file: string,
  number: number,
  request: SpoolRequest,
): Promise<SourceFile> {
  const stream = file === "-" ? request.stdin : createReadStream(file, { highWaterMark: 1 << 18 });
  const sniffed = await sniffStream(stream as AsyncIterable<Buffer>, name, request.format);
  const { format, form, compression, delimiter, plain } = sniffed;
  const origin = { name, format, compression };
  if (form !== undefined && compression === "none" && file !== "-") {
    await plain.close();
    return { path: file, lines: form, start: sniffed.start, origin };
  }
  if (format === "parquet") {
    // It is read from its end: what came as a stream becomes a file first.
    const isFile = compression === "none" && file !== "-";
    const whole = isFile ? file : await write(plain.all, `${number}-whole`, request);
    if (isFile) await plain.close();
    const rows = asHits(parquetDocuments(whole, request.maxDocumentBytes));
    const target = await write(rows, `${number}-${format}`, request);
    if (!isFile) await rm(whole);
    return { path: target, lines: "hit", start: 0, origin, spooled: true };
  }
  const content = withoutMark(plain.all);
  const spooled =
    form === undefined ? asHits(documentsOf(content, format, delimiter, request)) : content;
  const target = await write(spooled, `${number}-${format}`, request);
  return { path: target, lines: form ?? "hit", start: 0, origin, spooled: true };
}

/** The documents of a format that has them not in lines. */
function documentsOf(
  content: AsyncIterable<Buffer>,
  format: FileFormat,
  delimiter: string,
  { maxDocumentBytes: maxBytes, types = {} }: SpoolRequest,
): AsyncGenerator<FoundDocument> {
  switch (format) {
    case "bulk":
      return bulkDocuments(content, maxBytes);
    case "csv":
    case "tsv":
      return rowDocuments(content, { delimiter, types, maxBytes });
    default:
      return valueDocuments(content, format === "json-array" ? "array" : "objects", maxBytes);
  }
}

async function* valueDocuments(
  content: AsyncIterable<Buffer>,
  layout: ValueLayout,
  maxBytes: number,
): AsyncGenerator<FoundDocument> {
  for await (const value of jsonValues(content, layout, maxBytes)) {
    const { line } = value;
    if (value.content === undefined) {
      yield { line, content: Buffer.alloc(0), fault: tooLarge(value.bytes, maxBytes) };
    } else if (value.fault !== undefined) {
      const fault = { code: "document_malformed", reason: value.fault } as const;
      yield { line, content: value.content, fault };
    } else {
      yield { line, content: value.content };
    }
  }
}

async function* asHits(documents: AsyncIterable<FoundDocument>): AsyncGenerator<Buffer> {
  for await (const document of documents) yield writeHit(document);
}

async function write(
  content: AsyncIterable<Buffer>,
  name: string,
  { folder, signal }: SpoolRequest,
): Promise<string> {
  await mkdir(folder, { recursive: true });
  const target = path.join(folder, `${name}.ndjson`);
  await pipeline(
    Readable.from(content, { objectMode: false }),
    createWriteStream(target, { mode: 0o600, highWaterMark: 1 << 20 }),
    signal === undefined ? {} : { signal },
  );
  return target;
}

/** The file behind a name: itself, or `corpus.jsonl` of a BEIR folder. */
export async function fileOf(input: string): Promise<string> {
  const found = await stat(input).catch(() => undefined);
  if (found === undefined) {
    throw new CspladeError("source_unreadable", `There is no file ${input}.`);
  }
  if (!found.isDirectory()) return path.resolve(input);
  const file = await corpusOf(input);
  if (file !== undefined) return file;
  throw new CspladeError(
    "source_unreadable",
    `The folder ${input} holds no corpus.jsonl, and no Markdown, HTML or text files that can be taken here.`,
    {
      hint: "Name files, a BEIR folder (corpus.jsonl, queries.jsonl, qrels/), or to csplade ingest a folder of *.md, *.html or *.txt.",
    },
  );
}

/** The documents of a BEIR folder. */
async function corpusOf(folder: string): Promise<string | undefined> {
  for (const name of ["corpus.jsonl", "corpus.jsonl.gz"]) {
    const file = path.resolve(folder, name);
    if ((await stat(file).catch(() => undefined))?.isFile() === true) return file;
  }
  return undefined;
}
