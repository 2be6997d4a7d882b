/** `csplade doctor`: every setting with its origin, and whether model, cluster and Redis are usable. */
import type { Command } from "commander";
import pc from "picocolors";
import { connectCluster } from "../cluster/cluster.js";
import type { LoadedConfig } from "../config/load-config.js";
import { withoutPasswords } from "../config/without-passwords.js";
import { settingRows, type SettingRow } from "../config/settings-table.js";
import { settings, type Config, type SettingName } from "../config/settings.js";
import type { Setting } from "../config/setting-schemas.js";
import { openCheckpoint, type CheckpointDirectory } from "../encoder/checkpoint-directory.js";
import { CUDA_OPERATORS_VERSION } from "../encoder/cuda-operators.js";
import { openEncoder } from "../encoder/encoder.js";
import type { Manifest } from "../encoder/manifest.js";
import { demandFit, fitOf, operatorsPhrase } from "../encoder/provider-fit.js";
import { tokenBudgetOf } from "../encoder/token-budget.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { checkRedis } from "../queue/redis-connection.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { runTuning, type TuneFlags } from "./doctor-tune.js";
import { EXIT, printJson, printLine } from "./outcome.js";

interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly says: string;
  readonly hint?: string;
}

/** Builds the command. */
export function doctorCommand(): Command {
  return configuredCommand("doctor")
    .description("Print every setting with its origin, and check model, cluster and Redis.")
    .option("--json", "one JSON object: {settings, checks}, or with --tune {tuning, settings}")
    .option("--settings", "explain every setting instead: variable, default, values, meaning")
    .option("--tune", "find the fastest encoder settings of this machine instead")
    .option("--seconds <n>", "with --tune: about how long to measure", "60")
    .option("--write <file>", "with --tune: store what was found in this settings file")
    .addHelpText(
      "after",
      "\nExamples:\n  csplade doctor\n  OPENSEARCH_URL=https://search:9200 csplade doctor --json" +
        "\n  csplade doctor --tune --write csplade.yaml",
    )
    .action(async (flags: TuneFlags & { tune?: true; settings?: true }, command: Command) => {
      if (flags.settings) {
        const rows = settingRows();
        if (flags.json) printJson(rows);
        else for (const row of rows) printRow(row);
        return;
      }
      const loaded = configOf(command.opts());
      if (flags.tune) {
        await runTuning(loaded, flags);
        return;
      }
      if (flags.write !== undefined) {
        throw new CspladeError("usage", "--write goes with --tune: nothing else is stored.");
      }
      const shown = shownSettings(loaded);
      if (!flags.json) printSettings(shown);
      const checks = await runChecks(loaded.values);
      if (flags.json) printJson({ settings: shown, checks });
      else printChecks(checks);
      if (checks.some((check) => !check.ok)) process.exitCode = EXIT.failed;
    });
}

interface ShownSetting {
  readonly name: SettingName;
  readonly value: unknown;
  readonly origin: string;
  readonly env: string;
  readonly help: string;
}

function shownSettings({ values, origins }: LoadedConfig): ShownSetting[] {
  return (Object.keys(settings) as SettingName[]).map((name) => {
    const setting: Setting = settings[name];
    const value = values[name];
    return {
      name,
      value: shownValue(value, setting),
      origin: origins[name],
      env: setting.env,
      help: setting.help,
    };
  });
}

/** Of a URL what signs in is hidden, of a secret one also what stands behind its path. */
function shownValue(value: unknown, { secret }: Setting): unknown {
  if (typeof value === "string" && URL.canParse(value)) {
    const shown = withoutPasswords(value);
    return secret === true ? shown.replace(/[?#].*$/, "") : shown;
  }
  return secret === true && value !== undefined ? "(hidden)" : value;
}

function printRow({ name, env, default: fallback, values, help }: SettingRow): void {
  const usual = fallback === "" ? "not set" : fallback;
  printLine(`${pc.bold(name.padEnd(30))} ${env.padEnd(32)} ${usual}  ${pc.dim(`(${values})`)}`);
  printLine(`    ${help}`);
}

function printSettings(shown: readonly ShownSetting[]): void {
  for (const { name, value, origin } of shown) {
    const text =
      value === undefined
        ? pc.dim("not set")
        : typeof value === "string"
          ? value
          : JSON.stringify(value);
    printLine(`${name.padEnd(30)} ${text.padEnd(44)} ${pc.dim(origin)}`);
  }
}

async function runChecks(config: Config): Promise<Check[]> {
  return Promise.all([
    check("model", async () => {
      const encoder = await openEncoder(config);
      const [encoded] = await encoder.encodeDocuments(["a short text to try the model"]);
      await encoder.close();
      const { name, precision, variant, fingerprint } = encoder.manifest;
      const terms = encoded?.passages[0]?.vector.ids.length ?? 0;
      return `${name} (${variant}, ${precision}, ${fingerprint}) gives ${terms} terms for a short text${languagesPhrase(encoder.manifest, config)}`;
    }),
    checkGraph(config),
    check("cluster", async () => {
      const cluster = connectCluster(config);
      try {
        const can = await cluster.capabilities();
        const sparse = can.neural_sparse ? ", neural_sparse" : "";
        return `${can.distribution} ${can.version} at ${cluster.url}${sparse}, at most ${can.max_clause_count} clauses`;
      } finally {
        await cluster.close();
      }
    }),
    check("redis", async () => checkRedis(config)),
  ]);
}

/** Which languages a model knows, and what texts of others get. */
function languagesPhrase({ languages, files }: Manifest, config: Config): string {
  if (languages === undefined)
    return `\n${INDENT}its manifest names no languages: all texts get its terms`;
  const others =
    config["model.other_languages"] === "terms" || !("lexicon.json" in files)
      ? "texts of other languages get its terms too"
      : "texts of other languages get their own words alone";
  return `\n${INDENT}knows ${languages.join(", ")}; ${others}`;
}

/** What the checkpoint's graph is, and whether the provider has all of its operators. */
async function checkGraph(config: Config): Promise<Check> {
  let said = "";
  const fits = await check("graph", async () => {
    const remote = config["model.remote"];
    if (remote !== undefined) return `computed by ${new URL(remote).origin}`;
    const checkpoint = await openCheckpoint(config["model.path"]);
    said = describeGraph(checkpoint, config);
    demandFit(checkpoint, config);
    return "";
  });
  return { ...fits, says: [said, fits.says].filter(Boolean).join(`\n${INDENT}`) };
}

/** Where lines of a check go on. */
const INDENT = " ".repeat(14);

function describeGraph(checkpoint: CheckpointDirectory, config: Config): string {
  const { manifest } = checkpoint;
  const { operators, absent, unknown, memory } = fitOf(checkpoint, config);
  const data = manifest.files["model.onnx_data"];
  const lines = [
    `${manifest.precision}${manifest.provider === undefined ? "" : ` for ${manifest.provider}`}, ${operators} nodes, ` +
      `${bytesPhrase(memory.stored)} of weights${data === undefined ? "" : `, ${bytesPhrase(data.bytes)} of files beside model.onnx`}`,
    `on ${config["model.provider"]} about ${bytesPhrase(memory.total)}: weights ${bytesPhrase(memory.weights)}, ` +
      `scores of a batch of ${tokenBudgetOf(config)} tokens ${bytesPhrase(memory.scores)}`,
    absent.length === 0
      ? `CUDA (ONNX Runtime ${CUDA_OPERATORS_VERSION}) has a kernel of each operator` +
        (unknown.length === 0 ? "" : `, as far as known: not known is ${operatorsPhrase(unknown)}`)
      : `CUDA (ONNX Runtime ${CUDA_OPERATORS_VERSION}) leaves to the CPU: ${operatorsPhrase(absent)}`,
  ];
  return lines.join(`\n${INDENT}`);
}

function bytesPhrase(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

async function check(name: string, run: () => Promise<string>): Promise<Check> {
  try {
    return { name, ok: true, says: await run() };
  } catch (thrown) {
    const hint = thrown instanceof CspladeError ? thrown.hint : undefined;
    return { name, ok: false, says: messageOf(thrown), ...(hint === undefined ? {} : { hint }) };
  }
}

function printChecks(checks: readonly Check[]): void {
  printLine();
  for (const { name, ok, says, hint } of checks) {
    printLine(`${ok ? pc.green("ok  ") : pc.red("FAIL")} ${name.padEnd(8)} ${says}`);
    if (hint !== undefined) printLine(pc.dim(`              ${hint}`));
  }
}
