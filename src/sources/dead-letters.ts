/**
 * Dead letters: documents that could not be taken, one JSON object per line, with
 * the reason and the document itself, so that they can be mended and tried again.
 */
import { constants, isUtf8 } from "node:buffer";
import { createReadStream } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { Readable } from "node:stream";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import {
  identityPhrase,
  identitySchema,
  settingsOfIdentity,
  type DocumentIdentity,
  type GivenIdentity,
} from "../config/document-identity.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { readRange, type DocumentFailure } from "./chunk.js";
import { besideOf } from "./found-document.js";
import { writeHit } from "./hit-line.js";
import { linesOf } from "./lines.js";
import type { SourceFile } from "./source-file.js";

/** A document above this size is not copied into the dead-letter file; its place stands for it. */
const MAX_COPIED_BYTES = 16_777_216;

/** The same for one whose place goes with the run: above it, no setting allows a document. */
const MAX_SPOOLED_BYTES = 104_857_600;

const deadLetterSchema = z.object({
  code: z.string(),
  reason: z.string(),
  id: z.string().optional(),
  /** What the file said of the document outside its text. */
  beside: z.object({ id: z.string().optional(), routing: z.string().optional() }).optional(),
  /** How the document was identified, read and to be stored. */
  identity: identitySchema.optional(),
  /** Format of its file. */
  format: z.string().optional(),
  /** Field that gave the document its id, in letters of older versions. */
  id_field: z.string().optional(),
  file: z.string(),
  line: z.number().int(),
  /** Where its text stands in the file, if the file stays when the run is over. */
  offset: z.number().int().min(0).optional(),
  bytes: z.number().int().min(0).optional(),
  /** The document's text as it was; a large one is left in its file. */
  document: z.string().optional(),
  /** The same where it is no UTF-8. */
  document_base64: z.string().optional(),
});

type DeadLetter = z.infer<typeof deadLetterSchema>;

/** Appends failures to a dead-letter file, which is made when the first one comes. */
export interface DeadLetterFile {
  readonly path: string;
  /** Failures written so far. */
  readonly count: number;
  /** @throws CspladeError `file_unwritable` with the path and the cause; what was written stays whole. */
  add(failures: readonly DocumentFailure[]): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a dead-letter file for writing (nothing is created before the first failure).
 * @param identity what every letter notes of how its document was read, so that a replay reads it alike.
 * @param sources the files that failures name. Of those that are spooled, which go with the run, letters
 *   name the input instead, and carry the text whatever its size.
 */
export function openDeadLetters(
  path: string,
  identity: DocumentIdentity,
  sources: readonly SourceFile[] = [],
): DeadLetterFile {
  const spooled = new Map(
    sources.filter((file) => file.spooled === true).map((file) => [file.path, file]),
  );
  const formats = new Map(sources.map((source) => [source.path, source.origin.format]));
  let file: FileHandle | undefined;
  let size = 0;
  let count = 0;
  return {
    path,
    get count() {
      return count;
    },
    async add(failures) {
      try {
        for (const failure of failures) {
          file ??= await open(path, "w", 0o600);
          const letter = await letterOf(failure, spooled.get(failure.file));
          const format = formats.get(failure.file);
          const noted = { identity, ...(format === undefined ? {} : { format }) };
          const line = Buffer.from(JSON.stringify({ ...letter, ...noted }) + "\n");
          await file.appendFile(line);
          size += line.length;
          count += 1;
        }
      } catch (cause) {
        // Half a letter would spoil the others; where nothing can be cut off, nothing was kept either.
        await file?.truncate(size).catch(() => {});
        throw unwritable(path, cause);
      }
    },
    async close() {
      const closed = file;
      file = undefined;
      try {
        await closed?.close();
      } catch (cause) {
        throw unwritable(path, cause);
      }
    },
  };
}

function unwritable(path: string, cause: unknown): CspladeError {
  return new CspladeError(
    "file_unwritable",
    `The dead-letter file ${path} cannot be written: ${messageOf(cause)}`,
    {
      cause,
      hint: "Make room, or name another file with --dead-letters; then run the command again: what was written is skipped.",
    },
  );
}

/** The documents of a dead-letter file as hits in lines, read from where they stand if they were not copied. */
export function replayLines(file: string): Readable {
  return Readable.from(replay(file), { objectMode: false });
}

/**
 * How the documents of dead-letter files were read and to be stored; empty if no letter notes it.
 * @throws CspladeError `source_unreadable` if they were read differently: a replay reads all alike.
 */
export async function identityOfLetters(files: readonly string[]): Promise<GivenIdentity> {
  let noted: GivenIdentity = {};
  for (const file of files) {
    for await (const { number, letter } of lettersOf(file)) {
      const { id_field } = letter;
      const older = id_field === undefined ? {} : { id_field };
      // A letter that notes how it was read and no HTML says that there was none; so of expansion.
      const unsaid = { html_fields: [], expansion: 1, dense: false };
      const identity = letter.identity === undefined ? older : { ...unsaid, ...letter.identity };
      for (const [name, value] of Object.entries(identity)) {
        const part = name as keyof DocumentIdentity;
        const before = noted[part];
        if (before === undefined || isDeepStrictEqual(before, value)) continue;
        throw new CspladeError(
          "source_unreadable",
          `Line ${number} of ${file} is of a document read with ${settingsOfIdentity(part).join(", ")} ` +
            `"${identityPhrase(value)}", after others with "${identityPhrase(before)}".`,
          { hint: "Replay them apart." },
        );
      }
      noted = { ...noted, ...identity };
    }
  }
  return noted;
}

/** Longest line of a dead-letter file, bytes: no string can be longer. */
const MAX_LETTER_BYTES = constants.MAX_STRING_LENGTH;

async function* lettersOf(
  file: string,
): AsyncGenerator<{ readonly number: number; readonly letter: DeadLetter }> {
  const stream = createReadStream(file) as AsyncIterable<Buffer>;
  for await (const line of linesOf(stream, MAX_LETTER_BYTES)) {
    const { number, content } = line;
    if (content?.length === 0) continue;
    yield { number, letter: parseLetter(content ?? Buffer.alloc(0), file, number) };
  }
}

async function* replay(file: string): AsyncGenerator<Buffer> {
  for await (const { number, letter } of lettersOf(file)) {
    const document = { line: number, ...besideOf(letter.beside ?? {}) };
    try {
      yield writeHit({ ...document, content: await textOf(letter) });
    } catch (thrown) {
      // The others can be tried again all the same.
      const was = `${letter.code}: ${letter.reason}`;
      const reason = `The letter has no text of its document. ${messageOf(thrown)} It failed with ${was}`;
      const fault = { code: "source_unreadable", reason } as const;
      yield writeHit({ ...document, content: Buffer.alloc(0), fault });
    }
  }
}

/** @throws CspladeError `source_unreadable` if it stood elsewhere and is not there any more. */
async function textOf(letter: DeadLetter): Promise<Buffer> {
  const { document, document_base64: encoded, file, offset, bytes } = letter;
  if (document !== undefined) return Buffer.from(document);
  if (encoded !== undefined) return Buffer.from(encoded, "base64");
  if (offset !== undefined && bytes !== undefined) return readRange(file, offset, bytes);
  throw new CspladeError("source_unreadable", `It came from line ${letter.line} of ${file}.`);
}

function parseLetter(line: Buffer, file: string, number: number): DeadLetter {
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

/** A letter of a failure. */
async function letterOf(
  failure: DocumentFailure,
  spooled: SourceFile | undefined,
): Promise<Record<string, unknown>> {
  const { file, offset, bytes, ...rest } = failure;
  const place = spooled === undefined ? { file, offset, bytes } : { file: spooled.origin.name };
  const most = spooled === undefined ? MAX_COPIED_BYTES : MAX_SPOOLED_BYTES;
  if (bytes > most) return { ...rest, ...place };
  try {
    const content = await readRange(file, offset, bytes);
    // Escaped, a large text could become longer than a string can be.
    const text =
      isUtf8(content) && bytes <= MAX_COPIED_BYTES
        ? { document: ownText(content.toString("utf8"), spooled) }
        : { document_base64: content.toString("base64") };
    return { ...rest, ...place, ...text };
  } catch {
    // The file is gone: the place and the reason are still worth keeping.
    return { ...rest, ...place };
  }
}

/** In our own spools of hits, what is no JSON object stands as a JSON string. */
function ownText(text: string, spooled: SourceFile | undefined): string {
  const isQuoted =
    spooled?.lines === "hit" && spooled.origin.format !== "elasticdump" && text.startsWith('"');
  return isQuoted ? (JSON.parse(text) as string) : text;
}
