/** `csplade models`: the checkpoints that are installed, and which one commands take. */
import path from "node:path";
import type { Command } from "commander";
import pc from "picocolors";
import { packageRoot } from "../config/package-root.js";
import {
  checkpointIn,
  installedCheckpoints,
  type InstalledCheckpoint,
} from "../encoder/installed-checkpoints.js";
import type { Manifest } from "../encoder/manifest.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { EXIT, printJson, printLine } from "./outcome.js";
import { table } from "./status-view.js";

/** Builds the command. */
export function modelsCommand(): Command {
  return configuredCommand("models", ["model.path"])
    .description(
      "The models that are installed: kind, size, languages, terms, licence, fingerprint.",
    )
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
The one with the star is what commands take: --model DIRECTORY or CSPLADE_MODEL chooses another.
An index takes the vectors of one model; docs/models.md says which one is good for what.

Examples:
  csplade models
  csplade models --json | jq '.models[].fingerprint'`,
    )
    .action((_flags: object, command: Command) => {
      const chosen = path.resolve(configOf(command.opts()).values["model.path"]);
      const installed = installedCheckpoints(path.join(packageRoot, "models"));
      const isThere = installed.some(({ directory }) => directory === chosen);
      const all = isThere ? installed : [...installed, checkpointIn(chosen)];
      if (command.opts<{ json?: true }>().json) {
        printJson({ models: all.map((each) => asJson(each, chosen)) });
      } else for (const line of linesOf(all, chosen)) printLine(line);
      if (all.some((each) => "problem" in each)) process.exitCode = EXIT.failed;
    });
}

function asJson(found: InstalledCheckpoint, chosen: string) {
  const { directory } = found;
  const place = { directory, chosen: directory === chosen };
  if ("problem" in found) return { ...place, problem: found.problem };
  const { manifest } = found;
  const { name, variant, pooling, precision, languages, max_tokens, top_k } = manifest;
  const { license, base, fingerprint } = manifest;
  return {
    ...place,
    name,
    kind: kindOf(manifest),
    variant,
    pooling,
    precision,
    bytes: bytesOf(manifest),
    languages: languages ?? null,
    max_tokens,
    top_k,
    license,
    base,
    fingerprint,
  };
}

function linesOf(all: readonly InstalledCheckpoint[], chosen: string): string[] {
  const head = [
    "",
    "model",
    "kind",
    "size",
    "languages",
    "terms at most",
    "licence",
    "fingerprint",
  ];
  const readable = all.filter((each) => "manifest" in each);
  const rows = readable.map(({ directory, manifest }) => [
    directory === chosen ? "*" : "",
    manifest.name,
    kindOf(manifest),
    `${(bytesOf(manifest) / 1e6).toFixed(0)} MB`,
    manifest.languages?.join(", ") ?? "not said",
    `${manifest.top_k.document} / ${manifest.top_k.query}`,
    manifest.license,
    manifest.fingerprint,
  ]);
  const problems = all.filter((each) => "problem" in each);
  return [
    ...(rows.length === 0 ? ["There is no model that can be read."] : table([head, ...rows])),
    ...problems.map(({ problem }) => pc.red(problem.message)),
    pc.dim("* is taken; terms are of a document's passage and of a question."),
  ];
}

/** How a model makes terms, in words. */
function kindOf({ variant, pooling }: Manifest): string {
  if (pooling === "prompt") return "language model at a prompt";
  if (pooling === "mean") return "sentence encoder";
  return variant === "bi" ? "language model, both directions" : `language model, ${variant}`;
}

function bytesOf({ files }: Manifest): number {
  return Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);
}
