/** A YAML file read; what is wrong with it is said without its text, which may be a password. */
import { readFileSync } from "node:fs";
import { LineCounter, parseDocument, type Document } from "yaml";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** @throws CspladeError `config_invalid` naming the line at fault. */
export function readYaml(file: string): Document.Parsed {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new CspladeError("config_invalid", `${file} cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
  const lines = new LineCounter();
  // The parser's own pretty messages quote the line.
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines });
  const [fault] = document.errors;
  if (fault === undefined) return document;
  const { line, col } = lines.linePos(fault.pos[0]);
  throw new CspladeError(
    "config_invalid",
    `${file} is not valid YAML: ${fault.code} in line ${line}, column ${col}.`,
  );
}
