/** Lines of a byte stream with their places, bounded in memory however long a line is. */

/** One line, without its newline. */
export interface Line {
  /** 1-based. */
  readonly number: number;
  /** Byte offset of its first byte. */
  readonly offset: number;
  /** Length in bytes, without the newline. */
  readonly bytes: number;
  /** Its content; `undefined` if it is longer than the limit (it was skipped, not kept). */
  readonly content: Buffer | undefined;
}

const NEWLINE = 0x0a;

/**
 * Splits a byte stream into lines.
 * @param maxBytes longest line whose content is kept
 */
export async function* linesOf(
  stream: AsyncIterable<Buffer>,
  maxBytes: number,
): AsyncGenerator<Line> {
  let number = 1;
  let lineOffset = 0;
  let bytes = 0;
  let parts: Buffer[] = [];
  const take = (part: Buffer) => {
    bytes += part.length;
    if (bytes <= maxBytes) parts.push(part);
    else parts = [];
  };
  const finish = (): Line => {
    const content = bytes <= maxBytes ? Buffer.concat(parts) : undefined;
    return { number, offset: lineOffset, bytes, content };
  };
  for await (const chunk of stream) {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      take(chunk.subarray(from, at));
      yield finish();
      number += 1;
      lineOffset += bytes + 1;
      bytes = 0;
      parts = [];
      from = at + 1;
    }
    if (from < chunk.length) take(chunk.subarray(from));
  }
  if (bytes > 0) yield finish();
}

/** True for a line of white space only. */
export function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d));
}
