/** The command line of a benchmark, which is all that it takes its settings from. */
import { readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, type ParseArgsConfig } from "node:util";
import { packageRoot } from "../src/config/package-root.js";
import { settings, type SettingName } from "../src/config/settings.js";
import type { Setting } from "../src/config/setting-schemas.js";

type FlagsTable = NonNullable<ParseArgsConfig["options"]>;

/** Settings that may come from the environment: where downloads lie, and how a cluster lets one in. */
const HEEDED: readonly SettingName[] = [
  "home",
  "opensearch.username",
  "opensearch.password",
  "opensearch.api_key",
  "opensearch.aws_region",
  "opensearch.aws_service",
  "opensearch.ca_file",
];

const NOTE = `Settings come from these flags and csplade's defaults: csplade.yaml and the environment count for
nothing, but for ${HEEDED.map((name) => settings[name].env).join(", ")}.`;

/** Flags of a benchmark on a server, beside the server's heap; `openBench` takes them. */
export const SERVER_FLAGS = {
  model: { type: "string" },
  opensearch: { type: "string" },
  folder: { type: "string" },
} as const satisfies FlagsTable;

/**
 * A benchmark's flags. `--help` prints the comment at the head of its source, and ends. From here on
 * neither this process nor those it starts see settings in the environment or in `csplade.yaml`, so
 * that no figure depends on them unseen; what is left out is said.
 * @param program `import.meta.url` of the benchmark.
 */
export function benchFlags<const T extends FlagsTable>(
  program: string,
  options: T,
): ReturnType<typeof parseArgs<{ options: T }>>["values"] {
  if (process.argv.includes("--help")) {
    console.log(`${headOf(program)}\n\n${NOTE}`);
    process.exit(0);
  }
  const { values } = parseArgs({ options });
  ignoreEnvironment();
  return values;
}

/** The comment that a source file begins with, without its asterisks. */
function headOf(program: string): string {
  const name = path.basename(fileURLToPath(program), ".js");
  const source = readFileSync(path.join(packageRoot, "bench", `${name}.ts`), "utf8");
  const [, comment = ""] = /^\/\*\*([^]*?)\*\//.exec(source) ?? [];
  return comment.replaceAll(/^ \* ?/gm, "").trim();
}

function ignoreEnvironment(): void {
  const names = Object.entries<Setting>(settings)
    .filter(([name]) => !HEEDED.includes(name as SettingName))
    .map(([, { env }]) => env);
  const ignored = names.filter((name) => (process.env[name] ?? "") !== "");
  for (const name of ignored) process.env[name] = "";
  if (ignored.length > 0) console.error(`not used, see --help: ${ignored.join(", ")}`);
  // An empty file, in place of the `csplade.yaml` of this folder.
  process.env.CSPLADE_CONFIG = os.devNull;
}
