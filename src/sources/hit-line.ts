/**
 * Hits, one per line: `{"_id":…,"_routing":…,"_source":{…}}`, as elasticdump writes them. Spools of
 * formats that do not have a document in each line have the same form, with the place and the fault.
 */
import { isUtf8 } from "node:buffer";
import { JsonObject } from "../json/json-object.js";
import { membersOf, skipSpace } from "../json/positions.js";
import type { ErrorCode } from "../errors/csplade-error.js";
import { tooLarge, type FoundDocument } from "./found-document.js";

/** A document within its line. */
export interface HitLine extends Omit<FoundDocument, "line"> {
  /** Its line in the file it came from, where that is another one than this. */
  readonly line?: number;
  /** Byte within the line at which its own text begins. */
  readonly offset: number;
}

/** Bytes that a line may have besides its document. */
export const HIT_OVERHEAD = 8_192;

/** Reads a line. Never throws: what is no hit has a fault. */
export function readHit(line: Buffer, maxBytes: number): HitLine {
  // A character per byte: places in the text are places in the line, even if it is no UTF-8.
  const text = line.toString("latin1");
  let members: Map<string, string>;
  let source: { readonly start: number; readonly end: number } | undefined;
  try {
    const found = membersOf(text, skipSpace(text, 0));
    const last = found.findLast(({ name }) => name === "_source");
    source = last && { start: last.value, end: last.end };
    members = new Map(
      found
        .filter(({ name }) => name !== "_source")
        .map(({ name, value, end }) => [name, line.toString("utf8", value, end)]),
    );
  } catch {
    members = new Map();
  }
  if (source === undefined) {
    const reason = "The line is no hit: it has no _source.";
    return { offset: 0, content: line, fault: { code: "document_malformed", reason } };
  }
  const offset = source.start;
  const content = line.subarray(offset, source.end);
  const id = namedText(members.get("_id"));
  const routing = namedText(members.get("_routing") ?? members.get("routing"));
  const place = Number(members.get("_line"));
  const fault =
    faultOf(members) ??
    (content.length > maxBytes ? tooLarge(content.length, maxBytes) : undefined);
  return {
    offset,
    content,
    ...(id === undefined ? {} : { id }),
    ...(routing === undefined ? {} : { routing }),
    ...(place > 0 ? { line: place } : {}),
    ...(fault === undefined ? {} : { fault }),
  };
}

/** Writes a document as such a line, its newline included. What is no JSON object gets a fault. */
export function writeHit(document: FoundDocument): Buffer {
  const { line, id, routing, content } = document;
  const json = document.fault ?? jsonOf(content);
  const fault = Buffer.isBuffer(json) ? undefined : json;
  const before = [`"_line":${line}`];
  if (id !== undefined) before.push(`"_id":${JSON.stringify(id)}`);
  if (routing !== undefined) before.push(`"_routing":${JSON.stringify(routing)}`);
  if (fault !== undefined) {
    before.push(
      `"_fault":${JSON.stringify(fault.code)}`,
      `"_reason":${JSON.stringify(fault.reason)}`,
    );
  }
  // What is no JSON may have brackets and quotes that are never closed.
  const source = Buffer.isBuffer(json)
    ? json
    : Buffer.from(JSON.stringify(content.toString("utf8")));
  return Buffer.concat([
    Buffer.from(`{${before.join(",")},"_source":`),
    source,
    Buffer.from("}\n"),
  ]);
}

/** The object that is written in one line; or why it is none. */
function jsonOf(content: Buffer): Buffer | NonNullable<FoundDocument["fault"]> {
  const malformed = (reason: string) => ({ code: "document_malformed", reason }) as const;
  if (!isUtf8(content)) return malformed("The document is not valid UTF-8.");
  const text = content.toString("utf8");
  const read = JsonObject.read(text);
  if ("problem" in read) return malformed(`The document ${read.problem}.`);
  return oneLine(read.object.text === text ? content : Buffer.from(read.object.text));
}

/** JSON in one line: between tokens, a line break is white space like any other. */
function oneLine(content: Buffer): Buffer {
  if (!content.includes(0x0a) && !content.includes(0x0d)) return content;
  const line = Buffer.from(content);
  for (const [at, byte] of line.entries()) if (byte === 0x0a || byte === 0x0d) line[at] = 0x20;
  return line;
}

/** A string, or a number with the digits that stand there; nothing else names a document. */
export function namedText(json: string | undefined): string | undefined {
  if (json === undefined || json === "null") return undefined;
  return json.startsWith('"') ? (JSON.parse(json) as string) : json;
}

function faultOf(members: ReadonlyMap<string, string>): FoundDocument["fault"] {
  const code = namedText(members.get("_fault"));
  if (code === undefined) return undefined;
  return { code: code as ErrorCode, reason: namedText(members.get("_reason")) ?? "" };
}
