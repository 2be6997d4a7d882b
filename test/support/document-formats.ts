/** The same documents in every format that files may have. */
import { gzipSync } from "node:zlib";
import type { FileFormat } from "../../src/sources/sniff.js";
import { zstdFrame } from "./zstd-frame.js";

/** A document: its id, routing where a format can say it, and the JSON that must be stored. */
export interface WrittenDocument {
  readonly id: string;
  readonly title: string;
  readonly text: string;
  /** Members besides the texts, as JSON text: not for columns. */
  readonly more: string;
}

/** A file of all documents. */
export interface FormatFile {
  readonly name: string;
  readonly format: FileFormat;
  readonly content: string;
  /** The JSON that is stored for a document of this file. */
  readonly stored: (document: WrittenDocument) => string;
}

const quoted = (cell: string) => `"${cell.replaceAll('"', '""')}"`;

/** Members of a document in one line, without its id. */
const membersOf = ({ title, text, more }: WrittenDocument) =>
  `"title":${JSON.stringify(title)}, "text":${JSON.stringify(text)}${more}`;

/** The same as a pretty printer sets it. */
const printed = ({ id, title, text, more }: WrittenDocument, indent: string) =>
  `{\n${indent}  "title": ${JSON.stringify(title)},\n${indent}  "text": ${JSON.stringify(text)}` +
  `${more},\n${indent}  "_id": ${JSON.stringify(id)}\n${indent}}`;

/** What is left of the printed one when its line breaks are blanks and its id is taken out. */
const ofPrinted = (document: WrittenDocument, indent: string) =>
  printed(document, indent)
    .replaceAll("\n", " ")
    .replace(/,\s*"_id": "[^"]*"/, "");

/** The files; `more` of the documents is written where a format can hold it. */
export function formatFiles(documents: readonly WrittenDocument[]): FormatFile[] {
  const whole = (document: WrittenDocument) => `{${membersOf(document)}}`;
  const named = (document: WrittenDocument) =>
    `{"_id":${JSON.stringify(document.id)},${membersOf(document)}}`;
  const strings = ({ title, text }: WrittenDocument) => JSON.stringify({ title, text });
  const columns = (delimiter: string) =>
    [
      ["_id", "title", "text"].join(delimiter),
      ...documents.map(({ id, title, text }) => [id, title, text].map(quoted).join(delimiter)),
    ].join("\r\n") + "\r\n";
  const lines = (write: (document: WrittenDocument) => string) =>
    documents.map(write).join("\n") + "\n";
  return [
    { name: "lines", format: "ndjson", content: lines(named), stored: whole },
    { name: "marked", format: "ndjson", content: `\ufeff${lines(named)}`, stored: whole },
    {
      name: "array",
      format: "json-array",
      content: `[${documents.map(named).join(",")}]`,
      stored: whole,
    },
    {
      name: "printed-array",
      format: "json-array",
      content: `[\n  ${documents.map((each) => printed(each, "  ")).join(",\n  ")}\n]\n`,
      stored: (document) => ofPrinted(document, "  "),
    },
    {
      name: "printed",
      format: "json-objects",
      content: lines((document) => printed(document, "")),
      stored: (document) => ofPrinted(document, ""),
    },
    {
      name: "bulk",
      format: "bulk",
      content: lines(
        (document) =>
          `{"index":{"_index":"old","_id":${JSON.stringify(document.id)},"routing":"r"}}\n${whole(document)}`,
      ),
      stored: whole,
    },
    {
      name: "dump",
      format: "elasticdump",
      content: lines(
        (document) =>
          `{"_index":"old","_type":"_doc","_id":${JSON.stringify(document.id)},"_score":1,` +
          `"_routing":"r","_source":${whole(document)}}`,
      ),
      stored: whole,
    },
    { name: "commas", format: "csv", content: columns(","), stored: strings },
    { name: "semicolons", format: "csv", content: `\ufeff${columns(";")}`, stored: strings },
    { name: "tabs", format: "tsv", content: columns("\t"), stored: strings },
  ];
}

/** Documents with what formats get wrong: quotes, line breaks, delimiters, digits. */
export function hostileDocuments(count: number): WrittenDocument[] {
  return Array.from({ length: count }, (_, i) => ({
    id: `d-${i}`,
    title: `Title ${i}, "quoted"; with\ttab`,
    text: `The text of document ${i}\nhas lines, {brackets] and "quotes" \\ — äöü 😀.`,
    more: `, "n": ${9007199254740993n + BigInt(i)}, "price": ${i}.0, "deep": {"a": [1e2, 2.50], "b": null}`,
  }));
}

/** How files are packed. */
export const PACKINGS = {
  none: (content: Buffer) => content,
  gzip: (content: Buffer) => gzipSync(content),
  zstd: zstdFrame,
} as const;
