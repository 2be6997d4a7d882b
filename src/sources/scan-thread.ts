/**
 * The scan thread: reads NDJSON files once, checks every line, and cuts them into
 * chunks. Parsing stays off the event loop that renews the queue's locks.
 */
import { createReadStream } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { isBlank, type DocumentFailure } from "./chunk.js";
import { linesOf, type Line } from "./lines.js";
import type { ScanReply, ScanRequest } from "./scan-protocol.js";
import { createSeenIds, type SeenIds } from "./seen-ids.js";
import { parseDocument, type DocumentProblem } from "./source-document.js";

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

async function sendChunk(file: string, open: OpenChunk): Promise<void> {
  while (credit === 0) await new Promise<void>((resolve) => (wake = resolve));
  credit -= 1;
  const { read, documents, failures, ...range } = open;
  send({ type: "chunk", scanned: { chunk: { file, ...range }, read, documents, failures } });
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

function problemOf(line: Line, fileIndex: number, seen: SeenIds): DocumentProblem | undefined {
  if (line.content === undefined) {
    return {
      code: "document_too_large",
      reason: `The document has ${line.bytes} bytes; ingest.max_document_bytes is ${request.max_document_bytes}.`,
    };
  }
  const parsed = parseDocument(line.content, request.fields);
  if ("problem" in parsed) return parsed.problem;
  const before = seen.note(parsed.document.id, fileIndex * LINES_PER_FILE + line.number);
  if (before === undefined) return undefined;
  const file = request.files[Math.floor(before / LINES_PER_FILE)] ?? "";
  return {
    code: "document_duplicate",
    reason: `The id was already used in line ${before % LINES_PER_FILE} of ${file}; that document was taken.`,
    id: parsed.document.id,
  };
}

async function scanFile(file: string, fileIndex: number, seen: SeenIds): Promise<void> {
  let open: OpenChunk | undefined;
  const stream = createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>;
  for await (const line of linesOf(stream, request.max_document_bytes)) {
    const oversized = line.content === undefined;
    // A line that must be skipped for its size ends the chunk before it: it is never read again.
    if (open !== undefined && (oversized || open.bytes + line.bytes + 1 > request.job_bytes)) {
      await sendChunk(file, open);
      open = undefined;
    }
    open ??= startChunk(line);
    open.lines += 1;
    if (line.content === undefined || !isBlank(line.content)) {
      open.read += 1;
      const problem = problemOf(line, fileIndex, seen);
      if (problem === undefined) {
        open.documents += 1;
      } else {
        const { number, offset, bytes } = line;
        open.skip.push(number);
        open.failures.push({ file, line: number, offset, bytes, ...problem });
      }
    }
    if (!oversized) open.bytes = line.offset + line.bytes - open.offset;
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
