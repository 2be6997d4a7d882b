/** Opens files and streams far enough to tell what they are. */
import { createReadStream } from "node:fs";
import { CspladeError } from "../errors/csplade-error.js";
import { delimiterOf, sniff, SNIFFED_BYTES, type FileFormat } from "./sniff.js";
import type { LineForm } from "./source-file.js";
import {
  BYTE_ORDER_MARK,
  compressionOf,
  peek,
  startsWithMark,
  unpacked,
  type Compression,
  type Peeked,
} from "./unpack.js";

/** What a file is. */
export interface SniffedFile {
  readonly format: FileFormat;
  /** What stands in each line; undefined if documents are not cut by lines. */
  readonly form: LineForm | undefined;
  readonly compression: Compression;
  /** Bytes, unpacked, before its text: a byte order mark. */
  readonly start: number;
  /** Of columns. */
  readonly delimiter: string;
}

/** Formats that have a document in each line. */
const LINE_FORMS: Partial<Record<FileFormat, LineForm>> = {
  ndjson: "document",
  elasticdump: "hit",
};

/**
 * Tells what a stream is; it is then read from `plain`.
 * @param name what errors call it
 * @param wanted the format that somebody says it has
 * @throws CspladeError `source_unsupported`, with what it looks like and what to do.
 */
export async function sniffStream(
  stream: AsyncIterable<Buffer>,
  name: string,
  wanted?: FileFormat,
): Promise<SniffedFile & { readonly plain: Peeked }> {
  const packed = await peek(stream, 4);
  const compression = compressionOf(packed.head);
  const plain = await peek(unpacked(packed.all, compression), SNIFFED_BYTES);
  const { head, whole } = plain;
  const found = wanted === undefined ? sniff(head, whole) : { format: wanted };
  if ("looksLike" in found) {
    await plain.close();
    throw new CspladeError(
      "source_unsupported",
      `${name} looks like ${found.looksLike}, of which no documents are taken.`,
      { hint: found.advice },
    );
  }
  const { format } = found;
  const delimiter = "delimiter" in found ? found.delimiter : undefined;
  return {
    format,
    form: LINE_FORMS[format],
    compression,
    start: startsWithMark(head) ? BYTE_ORDER_MARK.length : 0,
    delimiter: delimiter ?? delimiterOf(head, format === "tsv" ? "tsv" : "csv"),
    plain,
  };
}

/** Tells what a file is, and closes it. @throws CspladeError as {@link sniffStream}. */
export async function sniffFile(path: string, name: string): Promise<SniffedFile> {
  const { plain, ...sniffed } = await sniffStream(createReadStream(path), name);
  await plain.close();
  return sniffed;
}
