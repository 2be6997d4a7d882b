/** pytrec_eval in a virtual environment of its own, made once in the user's cache. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { packageRoot } from "../../src/config/package-root.js";

/** trec_eval behind Python, with wheels that need no compiler. */
const PACKAGES = ["pytrec-eval-terrier==0.5.11", "numpy==2.4.6"];

/** How long making the environment may take, milliseconds. */
const DEADLINE_MS = 240_000;

/**
 * A Python that has pytrec_eval, or the reason why there is none (no Python, no package registry).
 */
export function pytrecEvalPython(): { readonly python: string } | { readonly missing: string } {
  const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache");
  const folder = path.join(cache, "csplade", "pytrec-eval-0.5.11");
  const python = path.join(folder, "bin", "python");
  const stamp = path.join(folder, ".complete");
  if (existsSync(stamp)) return { python };
  mkdirSync(path.dirname(folder), { recursive: true });
  const steps: readonly (readonly [string, readonly string[]])[] = [
    ["python3", ["-m", "venv", "--clear", folder]],
    [python, ["-m", "pip", "install", "--quiet", "--only-binary", ":all:", ...PACKAGES]],
    [python, ["-c", "import pytrec_eval"]],
  ];
  for (const [program, args] of steps) {
    const end = spawnSync(program, args, { timeout: DEADLINE_MS, encoding: "utf8" });
    if (end.status !== 0) {
      const why = end.error?.message ?? end.stderr.trim().split("\n").at(-1) ?? "it failed";
      return { missing: `${program} ${args.slice(0, 3).join(" ")}: ${why}` };
    }
  }
  writeFileSync(stamp, "");
  return { python };
}

/** pytrec_eval's figures: query → metric → value. */
export function pytrecEvalFigures(
  python: string,
  qrelsFile: string,
  runFile: string,
  metrics: readonly string[],
): Record<string, Record<string, number>> {
  const script = path.join(packageRoot, "test", "support", "pytrec_eval_figures.py");
  const out = execFileSync(python, [script, qrelsFile, runFile, ...metrics], {
    encoding: "utf8",
    timeout: DEADLINE_MS,
  });
  return (JSON.parse(out) as { queries: Record<string, Record<string, number>> }).queries;
}
