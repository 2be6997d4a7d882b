/**
 * The scan thread: reads files of lines once, checks every line, and cuts them into
 * chunks. Parsing stays off the event loop that renews the queue's locks.
 */
import { parentPort, workerData } from "node:worker_threads";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { DocumentFailure } from "./chunk.js";
import { besideOf } from "./found-document.js";
import type { Line } from "./lines.js";
import type { ScanReply, ScanRequest } from "./scan-protocol.js";
import { createSeenIds, type SeenIds } from "./seen-ids.js";
import { parseDocument, type DocumentProblem } from "./source-document.js";
import { sourceLines, type SourceFile, type SourceLine } from "./source-file.js";

/** Places of ids are remembered as one number: file index × 2³² + line. */
const LINES_PER_FILE = 2 ** 32;

interface OpenChunk {
  offset: number;
  bytes: number;
  first_line: number;
  lines: number;
  read: number;
  documents: number;
  skip: number[];
  failures: DocumentFailure[];
}

const request = workerData as ScanRequest;
let credit = request.ahead;
let wake: (() => void) | undefined;
parentPort?.on("message", () => {
  credit += 1;
  wake?.();
});

function send(message: ScanReply): void {
  parentPort?.postMessage(message);
}

async function sendChunk(file: SourceFile, open: OpenChunk): Promise<void> {
  while (credit === 0) await new Promise<void>((resolve) => (wake = resolve));
  credit -= 1;
  const { read, documents, failures, ...range } = open;
  send({
    type: "chunk",
    scanned: { chunk: { file: file.path, form: file.lines, ...range }, read, documents, failures },
  });
}

function startChunk(line: Line): OpenChunk {
  return {
    offset: line.offset,
    bytes: 0,
    first_line: line.number,
    lines: 0,
    read: 0,
    documents: 0,
    skip: [],
    failures: [],
  };
}

function problemOf(
  found: SourceLine,
  fileIndex: number,
  seen: SeenIds,
): DocumentProblem | undefined {
  if (found.fault !== undefined) return found.fault;
  const parsed = parseDocument(found.content, request.fields, found);
  if ("problem" in parsed) return parsed.problem;
  const before = seen.note(parsed.document.id, fileIndex * LINES_PER_FILE + found.line);
  if (before === undefined) return undefined;
  const name = request.files[Math.floor(before / LINES_PER_FILE)]?.origin.name ?? "";
  return {
    code: "document_duplicate",
    reason: `The id was already used in line ${before % LINES_PER_FILE} of ${name}; that document was taken.`,
    id: parsed.document.id,
  };
}

/** What a failure notes of what stood beside its document. */
function noted(found: SourceLine): Pick<DocumentFailure, "beside"> {
  const beside = besideOf(found);
  return beside === undefined ? {} : { beside };
}

async function scanFile(file: SourceFile, fileIndex: number, seen: SeenIds): Promise<void> {
  let open: OpenChunk | undefined;
  for await (const { place, found } of sourceLines(file, request.max_document_bytes)) {
    const oversized = place.content === undefined;
    // A line that must be skipped for its size ends the chunk before it: it is never read again.
    if (open !== undefined && (oversized || open.bytes + place.bytes + 1 > request.job_bytes)) {
      await sendChunk(file, open);
      open = undefined;
    }
    open ??= startChunk(place);
    open.lines += 1;
    if (found !== undefined) {
      open.read += 1;
      const problem = problemOf(found, fileIndex, seen);
      if (problem === undefined) {
        open.documents += 1;
      } else {
        const bytes = oversized ? place.bytes : found.content.length;
        open.skip.push(place.number);
        open.failures.push({
          file: file.path,
          line: found.line,
          offset: found.offset,
          bytes,
          ...problem,
          ...noted(found),
        });
      }
    }
    if (!oversized) open.bytes = place.offset + place.bytes - open.offset;
    if (oversized || open.documents >= request.job_documents || open.lines >= 10_000) {
      await sendChunk(file, open);
      open = undefined;
    } else {
      open.bytes += 1;
    }
  }
  if (open !== undefined) {
    // The last line of a file may lack its newline: never read past the end.
    await sendChunk(file, { ...open, bytes: open.bytes - 1 });
  }
}

async function scanAll(): Promise<void> {
  const seen = createSeenIds();
  for (const [index, file] of request.files.entries()) await scanFile(file, index, seen);
  send({ type: "end" });
}

scanAll()
  .catch((thrown: unknown) => {
    send({
      type: "error",
      code: thrown instanceof CspladeError ? thrown.code : "source_unreadable",
      message: messageOf(thrown),
    });
  })
  .finally(() => parentPort?.close());
