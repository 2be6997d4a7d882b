/**
 * Dead letters: documents that could not be taken, one JSON object per line, with
 * the reason and the document itself, so that they can be mended and tried again.
 */
import { createReadStream, type WriteStream, createWriteStream } from "node:fs";
import { once } from "node:events";
import { Readable } from "node:stream";
import { z } from "zod";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { readRange, type DocumentFailure } from "./chunk.js";
import { besideOf } from "./found-document.js";
import { writeHit } from "./hit-line.js";
import { linesOf } from "./lines.js";

/** A document above this size is not copied into the dead-letter file; its place stands for it. */
const MAX_COPIED_BYTES = 16_777_216;

const deadLetterSchema = z.object({
  code: z.string(),
  reason: z.string(),
  id: z.string().optional(),
  /** What the file said of the document outside its text. */
  beside: z.object({ id: z.string().optional(), routing: z.string().optional() }).optional(),
  /** Field that gave the document its id. */
  id_field: z.string().optional(),
  file: z.string(),
  line: z.number().int(),
  offset: z.number().int().min(0),
  bytes: z.number().int().min(0),
  /** The document's line as it was, where it is valid UTF-8 and not too large. */
  document: z.string().optional(),
});

/** Appends failures to a dead-letter file, which is made when the first one comes. */
export interface DeadLetterFile {
  readonly path: string;
  /** Failures written so far. */
  readonly count: number;
  add(failures: readonly DocumentFailure[]): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a dead-letter file for writing (nothing is created before the first failure).
 * @param identity what every letter notes of how its document was read, so that a replay reads it alike.
 */
export function openDeadLetters(
  path: string,
  identity: { readonly id_field: string },
): DeadLetterFile {
  let stream: WriteStream | undefined;
  let count = 0;
  return {
    path,
    get count() {
      return count;
    },
    async add(failures) {
      for (const failure of failures) {
        if (stream === undefined) {
          stream = createWriteStream(path, { mode: 0o600 });
          await once(stream, "open");
        }
        const line = JSON.stringify({ ...failure, ...identity, ...(await copyOf(failure)) }) + "\n";
        count += 1;
        if (!stream.write(line)) await once(stream, "drain");
      }
    },
    async close() {
      if (stream === undefined) return;
      stream.end();
      await once(stream, "close");
    },
  };
}

/** The documents of a dead-letter file as hits in lines, read from where they stand if they were not copied. */
export function replayLines(file: string): Readable {
  return Readable.from(replay(file), { objectMode: false });
}

/**
 * The field that gave the documents of dead-letter files their ids; undefined if no letter notes one.
 * @throws CspladeError `source_unreadable` if they note several: a replay reads all documents alike.
 */
export async function idFieldOfLetters(files: readonly string[]): Promise<string | undefined> {
  let noted: string | undefined;
  for (const file of files) {
    for await (const { id_field } of lettersOf(file)) {
      if (id_field !== undefined && noted !== undefined && id_field !== noted) {
        throw new CspladeError(
          "source_unreadable",
          `${file} holds documents whose ids come from ${id_field}, after others whose ids come from ${noted}.`,
          { hint: "Replay them apart, one id field at a time." },
        );
      }
      noted ??= id_field;
    }
  }
  return noted;
}

async function* lettersOf(file: string): AsyncGenerator<z.infer<typeof deadLetterSchema>> {
  const stream = createReadStream(file) as AsyncIterable<Buffer>;
  for await (const line of linesOf(stream, 4 * MAX_COPIED_BYTES)) {
    if (line.content === undefined || line.content.length === 0) continue;
    yield parseLetter(line.content, file, line.number);
  }
}

async function* replay(file: string): AsyncGenerator<Buffer> {
  for await (const letter of lettersOf(file)) {
    const content =
      letter.document === undefined
        ? await readRange(letter.file, letter.offset, letter.bytes)
        : Buffer.from(letter.document);
    yield writeHit({ line: letter.line, content, ...besideOf(letter.beside ?? {}) });
  }
}

function parseLetter(line: Buffer, file: string, number: number): z.infer<typeof deadLetterSchema> {
  try {
    return deadLetterSchema.parse(JSON.parse(line.toString("utf8")));
  } catch (cause) {
    throw new CspladeError(
      "source_unreadable",
      `Line ${number} of ${file} is no dead letter: ${messageOf(cause)}`,
      { cause, hint: "Name the file that csplade ingest wrote for failed documents." },
    );
  }
}

async function copyOf(failure: DocumentFailure): Promise<{ document?: string }> {
  if (failure.bytes > MAX_COPIED_BYTES) return {};
  try {
    const content = await readRange(failure.file, failure.offset, failure.bytes);
    return { document: new TextDecoder("utf-8", { fatal: true }).decode(content) };
  } catch {
    // Not UTF-8, or the file is gone: the place and the reason are still worth keeping.
    return {};
  }
}
