/** The checkpoints of a folder, by their manifests alone: nothing is loaded. */
import { readdirSync } from "node:fs";
import path from "node:path";
import { CspladeError, type ErrorCode } from "../errors/csplade-error.js";
import { readManifest } from "./checkpoint-directory.js";
import type { Manifest } from "./manifest.js";

/** A checkpoint and what its manifest says, or why it cannot be taken. */
export type InstalledCheckpoint = { readonly directory: string } & (
  | { readonly manifest: Manifest }
  | { readonly problem: { readonly code: ErrorCode; readonly message: string } }
);

/** The checkpoints in the folders of a folder, in the order of their names; none where it is missing. */
export function installedCheckpoints(folder: string): InstalledCheckpoint[] {
  let names: string[];
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    names = entries.filter((entry) => !entry.isFile()).map(({ name }) => name);
  } catch {
    return [];
  }
  return names
    .sort()
    .map((name) => checkpointIn(path.join(folder, name)))
    .filter((found) => !("problem" in found && found.problem.code === "model_not_found"));
}

/** The checkpoint of a directory. */
export function checkpointIn(directory: string): InstalledCheckpoint {
  try {
    return { directory, manifest: readManifest(directory) };
  } catch (thrown) {
    if (!(thrown instanceof CspladeError)) throw thrown;
    return { directory, problem: { code: thrown.code, message: thrown.message } };
  }
}
