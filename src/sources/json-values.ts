/**
 * The values of a JSON array, or of JSON objects one after another, found in a byte stream without
 * being read: only where they begin and end is known, so a file of any size needs no more memory than
 * its largest document, and each value keeps its own bytes.
 */
import { CspladeError } from "../errors/csplade-error.js";

/** One value of the stream. */
export interface FoundValue {
  /** Line in which it begins, 1-based. */
  readonly line: number;
  readonly bytes: number;
  /** Its own bytes; undefined if there are more than the limit (they were passed over). */
  readonly content: Buffer | undefined;
  /** Why it cannot be JSON, where finding its end has shown that. */
  readonly fault?: string;
}

/** How the values stand in the file. */
export type ValueLayout = "array" | "objects";

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Where the scan stands between two bytes. */
type Place = "before" | "between" | "value" | "after";

/**
 * Yields the values in their order.
 * @param maxBytes most bytes of a value that are kept
 * @throws CspladeError `source_unreadable` if the file ends inside a value or before its array ends,
 *   or goes on behind it: nothing tells what is missing.
 */
export async function* jsonValues(
  stream: AsyncIterable<Buffer>,
  layout: ValueLayout,
  maxBytes: number,
): AsyncGenerator<FoundValue> {
  const scan = new ValueScan(layout, maxBytes);
  for await (const chunk of stream) {
    yield* scan.take(chunk);
  }
  yield* scan.end();
}

class ValueScan {
  #place: Place;
  #line = 1;
  #found = 0;
  /** Of the value that is open. */
  #firstLine = 1;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #bytes = 0;
  #parts: Buffer[] = [];
  #fault: string | undefined;

  constructor(
    readonly layout: ValueLayout,
    readonly maxBytes: number,
  ) {
    this.#place = layout === "array" ? "before" : "between";
  }

  *take(chunk: Buffer): Generator<FoundValue> {
    let from = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] as number;
      if (this.#place !== "value") {
        if (!this.#begins(byte)) continue;
        from = at;
      }
      const step = this.#step(byte);
      if (step === "within") {
        if (byte === NEWLINE) this.#line += 1;
        continue;
      }
      this.#keep(chunk.subarray(from, step === "last" ? at + 1 : at));
      yield this.#close();
      if (step === "past") this.#begins(byte);
    }
    if (this.#place === "value") this.#keep(chunk.subarray(from));
  }

  *end(): Generator<FoundValue> {
    const isWord = this.#depth === 0 && !this.#inString;
    if (this.#place === "value" && isWord && this.layout === "objects") yield this.#close();
    if (this.#place === "value") {
      throw cutOff(`ends inside the value that begins in line ${this.#firstLine}`);
    }
    if (this.#place === "between" && this.layout === "array") {
      throw cutOff(`ends before its JSON array does, after ${this.#found} elements`);
    }
  }

  /** Takes a byte that stands in no value; true if a value begins with it. */
  #begins(byte: number): boolean {
    if (byte === NEWLINE) this.#line += 1;
    if (byte === 0x20 || (byte >= 0x09 && byte <= RETURN)) return false;
    if (this.#place === "before") {
      this.#place = "between";
      if (byte === OPEN_ARRAY) return false;
      throw cutOff("does not begin with [ as a JSON array does");
    }
    if (this.#place === "after") {
      throw cutOff(`goes on behind the end of its JSON array, in line ${this.#line}`);
    }
    if (byte === COMMA) return false;
    if (byte === CLOSE_ARRAY && this.layout === "array") {
      this.#place = "after";
      return false;
    }
    this.#place = "value";
    this.#firstLine = this.#line;
    this.#depth = 0;
    this.#bytes = 0;
    this.#parts = [];
    this.#fault = undefined;
    return true;
  }

  /** Takes a byte of the open value, which goes on, ends with it, or (a word) ended before it. */
  #step(byte: number): "within" | "last" | "past" {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === QUOTE) {
        this.#inString = false;
        return this.#depth > 0 ? "within" : "last";
      } else if (byte === NEWLINE) this.#fault = "A string holds a line break.";
      return "within";
    }
    switch (byte) {
      case QUOTE:
        this.#inString = true;
        return "within";
      case OPEN_OBJECT:
      case OPEN_ARRAY:
        this.#depth += 1;
        return "within";
      case CLOSE_OBJECT:
      case CLOSE_ARRAY:
        if (this.#depth > 0) {
          this.#depth -= 1;
          return this.#depth > 0 ? "within" : "last";
        }
    }
    if (this.#depth > 0) return "within";
    const ends =
      byte === COMMA ||
      byte === NEWLINE ||
      byte === RETURN ||
      (byte === CLOSE_ARRAY && this.layout === "array");
    return ends ? "past" : "within";
  }

  #keep(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#bytes <= this.maxBytes) this.#parts.push(part);
    else this.#parts = [];
  }

  #close(): FoundValue {
    this.#place = "between";
    this.#found += 1;
    const content = this.#bytes <= this.maxBytes ? Buffer.concat(this.#parts) : undefined;
    this.#parts = [];
    const fault = this.#fault;
    return {
      line: this.#firstLine,
      bytes: this.#bytes,
      content,
      ...(fault === undefined ? {} : { fault }),
    };
  }
}

function cutOff(what: string): CspladeError {
  return new CspladeError("source_unreadable", `The file ${what}.`, {
    hint: "It may be cut off or damaged; compare its size with where it came from.",
  });
}
