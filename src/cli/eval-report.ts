/** `csplade eval --report FILE`: evaluations as one HTML page. */
import { writeFile } from "node:fs/promises";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { SavedEvaluation } from "../evaluate/saved-evaluation.js";
import { printNote } from "./outcome.js";

/** Draws and writes the page. @throws CspladeError `file_invalid` when it cannot be written. */
export async function writeReport(
  file: string,
  evaluations: readonly SavedEvaluation[],
): Promise<void> {
  // The chart library takes a quarter of a second to load: only when something is drawn.
  const { renderReport } = await import("../evaluate/report.js");
  try {
    await writeFile(file, renderReport(evaluations));
  } catch (cause) {
    throw new CspladeError(
      "file_invalid",
      `The report ${file} cannot be written: ${messageOf(cause)}`,
      { cause },
    );
  }
  printNote(`The report is in ${file}.`);
}
