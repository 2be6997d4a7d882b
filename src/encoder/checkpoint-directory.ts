/** Opens a checkpoint directory: manifest, checksums, paths. */
import { createHash } from "node:crypto";
import { createReadStream, readFileSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { manifestSchema, type Manifest } from "./manifest.js";

/** A checkpoint directory whose files are what its manifest says. */
export interface CheckpointDirectory {
  readonly directory: string;
  readonly manifest: Manifest;
  readonly modelFile: string;
  readonly tokenizerFile: string;
  /** Of the lexical part of its vectors, if they have one. */
  readonly lexiconFile: string | undefined;
}

/** The graph; the names of the files of its weights begin with it. */
const GRAPH_FILE = "model.onnx";

/** Name of the lexicon in a checkpoint directory. */
const LEXICON_FILE = "lexicon.json";

/** Files above this size are checked by size alone at start; `verifyChecksums` reads them whole. */
const QUICK_CHECK_BYTES = 1_073_741_824;

/** Which files of a checkpoint have to be there. */
export interface CheckpointParts {
  /** False where nothing will be computed: neither the graph nor its weights are looked at. */
  readonly graph?: boolean;
}

/**
 * Reads and checks a checkpoint directory.
 * @throws CspladeError `model_not_found` (no manifest there) or `model_invalid` (schema, missing
 *   file, size or checksum, weights that lie elsewhere), naming the file at fault.
 */
export async function openCheckpoint(
  directory: string,
  { graph = true }: CheckpointParts = {},
): Promise<CheckpointDirectory> {
  const manifest = readManifest(directory);
  await demandFiles(directory, manifest.files, graph);
  return {
    directory,
    manifest,
    modelFile: path.join(directory, GRAPH_FILE),
    tokenizerFile: path.join(directory, "tokenizer.json"),
    lexiconFile: LEXICON_FILE in manifest.files ? path.join(directory, LEXICON_FILE) : undefined,
  };
}

/**
 * Checks that a checkpoint's files are what its manifest says.
 * @throws CspladeError `model_invalid` naming the file at fault.
 */
export async function demandFiles(
  directory: string,
  files: Manifest["files"],
  graph: boolean,
): Promise<void> {
  for (const [name, expected] of Object.entries(files)) {
    const isOfGraph = name.startsWith(GRAPH_FILE);
    if (isOfGraph && !graph) continue;
    const file = path.join(directory, name);
    const bytes = statSync(file, { throwIfNoEntry: false })?.size;
    if (bytes !== expected.bytes) {
      throw new CspladeError(
        "model_invalid",
        bytes === undefined
          ? `The checkpoint ${directory} lacks ${name}.`
          : `${file} has ${bytes} bytes; its manifest says ${expected.bytes}.`,
        {
          hint: "Copy the whole checkpoint directory again (large files may be pointers of Git LFS).",
        },
      );
    }
    if (bytes <= QUICK_CHECK_BYTES && (await sha256Of(file)) !== expected.sha256) {
      throw new CspladeError("model_invalid", `${file} is not the file its manifest describes.`, {
        hint: "Its SHA-256 differs: copy the whole checkpoint directory again.",
      });
    }
  }
  if (graph) demandOneFolder(directory, files);
}

/**
 * ONNX Runtime reads external weights from the folder of the graph alone, and follows no link out of
 * it. It would say so after minutes, in words about paths that "escape".
 */
function demandOneFolder(directory: string, files: Manifest["files"]): void {
  const graph = realpathSync(path.join(directory, GRAPH_FILE));
  const folders = [path.dirname(graph), realpathSync(directory)];
  for (const name of Object.keys(files).filter((each) => each.startsWith(GRAPH_FILE))) {
    const file = realpathSync(path.join(directory, name));
    if (folders.some((folder) => file.startsWith(folder + path.sep))) continue;
    throw new CspladeError(
      "model_invalid",
      `The weights ${path.join(directory, name)} are a link to ${file}, outside the folder of ${GRAPH_FILE}, where ONNX Runtime reads no weights.`,
      { hint: `Copy the files that the links lead to: cp -RL ${directory} ELSEWHERE` },
    );
  }
}

/** Reads a checkpoint's manifest and looks at nothing else. @throws CspladeError as {@link openCheckpoint}. */
export function readManifest(directory: string): Manifest {
  return readManifestAs(directory, manifestSchema);
}

/** The manifest of a checkpoint of any kind. @throws CspladeError as {@link openCheckpoint}. */
export function readManifestAs<T>(directory: string, schema: z.ZodType<T>): T {
  const file = path.join(directory, "manifest.json");
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new CspladeError("model_not_found", `There is no checkpoint in ${directory}.`, {
      cause,
      hint: "Name a directory that holds manifest.json, model.onnx and tokenizer.json (--model or CSPLADE_MODEL).",
    });
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new CspladeError("model_invalid", `${file} is not JSON: ${messageOf(cause)}`, { cause });
  }
  const manifest = schema.safeParse(parsed);
  if (!manifest.success) {
    throw new CspladeError(
      "model_invalid",
      `${file} is not a manifest: ${z.prettifyError(manifest.error)}`,
    );
  }
  return manifest.data;
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
