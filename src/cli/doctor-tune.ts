/** `csplade doctor --tune`: how this machine encodes fastest, shown and, if asked, stored. */
import pc from "picocolors";
import { SingleBar } from "cli-progress";
import { saveSettings } from "../config/save-settings.js";
import type { LoadedConfig } from "../config/load-config.js";
import { settings, type SettingName } from "../config/settings.js";
import { tuneEncoder, type EncoderSettings, type Tuning } from "../encoder/tune.js";
import { CspladeError } from "../errors/csplade-error.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine, printNote } from "./outcome.js";

/** Flags of `csplade doctor` that concern tuning. */
export interface TuneFlags {
  readonly json?: true;
  readonly seconds?: string;
  readonly write?: string;
}

const NAMES = {
  sessions: "model.sessions",
  threads: "model.threads",
  token_budget: "model.token_budget",
} as const satisfies Record<keyof EncoderSettings, SettingName>;

/** Above this load per core, other programs decide what is measured. */
const BUSY = 0.5;

/** Tunes, prints what was found, and stores it in the file of `--write`. */
export async function runTuning(loaded: LoadedConfig, flags: TuneFlags): Promise<void> {
  const seconds = Number(flags.seconds ?? 60);
  if (!Number.isFinite(seconds) || seconds < 1) {
    throw new CspladeError("usage", `--seconds must be a number ≥ 1, not ${flags.seconds ?? ""}.`);
  }
  if (!flags.json) {
    printNote(`Encoding with ${loaded.values["model.path"]} for about ${seconds} s.`);
  }
  const progress = startProgress(flags.json === true);
  let tuning: Tuning;
  try {
    tuning = await untilInterrupted((signal) =>
      tuneEncoder(loaded.values, { seconds, signal, onProgress: progress.update }),
    );
  } finally {
    progress.stop();
  }
  const found = settingsOf(tuning.best);
  if (flags.write !== undefined) saveSettings(flags.write, found);
  if (flags.json) {
    printJson({ tuning, settings: found, ...(flags.write && { written: flags.write }) });
    return;
  }
  printTuning(tuning);
  printLine();
  if (same(tuning.best, tuning.configured)) {
    printLine("What is configured is as fast as anything tried.");
  } else {
    printLine(`${pc.bold(`${tuning.gain.toFixed(2)} times as fast as configured`)} with`);
  }
  for (const [name, value] of Object.entries(found)) printLine(`  ${name}: ${value}`);
  if (flags.write === undefined) printLine(pc.dim("--write FILE stores it in a settings file."));
  else printLine(`Stored in ${flags.write}.`);
  warn(tuning, loaded, found);
}

/** A bar with the time to go on a terminal, a line for each thing measured elsewhere. */
function startProgress(quiet: boolean): {
  update: (what: string, share: number) => void;
  stop: () => void;
} {
  if (quiet) return { update: () => {}, stop: () => {} };
  if (!process.stderr.isTTY) {
    let last = "";
    return {
      update(what, share) {
        if (what !== last) printNote(`${Math.round(100 * share)} %  ${what}`);
        last = what;
      },
      stop() {},
    };
  }
  const bar = new SingleBar({
    format: "{bar} {percentage} % | {what} | {eta_formatted} to go",
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: true,
  });
  bar.start(100, 0, { what: "loading" });
  return {
    update: (what, share) => bar.update(Math.round(100 * share), { what }),
    stop: () => bar.stop(),
  };
}

function settingsOf(best: EncoderSettings): Record<string, number> {
  return Object.fromEntries(
    (Object.keys(NAMES) as (keyof EncoderSettings)[]).map((key) => [NAMES[key], best[key]]),
  );
}

function same(a: EncoderSettings, b: EncoderSettings): boolean {
  return a.sessions === b.sessions && a.threads === b.threads && a.token_budget === b.token_budget;
}

function printTuning({ rows, best, configured }: Tuning): void {
  printLine(pc.dim("sessions  threads  token budget   tokens/s  against the best before"));
  for (const row of rows) {
    const { ratio, low, high } = row.against;
    const versus =
      low === high ? "" : `× ${ratio.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
    const mark = same(row, best) ? " ← best" : same(row, configured) ? " ← configured" : "";
    const line =
      String(row.sessions).padStart(8) +
      String(row.threads).padStart(9) +
      String(row.token_budget).padStart(14) +
      Math.round(row.tokens_per_second).toLocaleString("en").padStart(11) +
      `  ${versus.padEnd(22)}${mark}`;
    printLine(same(row, best) ? pc.green(line) : line);
  }
}

/** Says what keeps the figures, or the stored settings, from being what they seem. */
function warn(tuning: Tuning, loaded: LoadedConfig, found: Record<string, number>): void {
  const { load_before, cores } = tuning;
  if (load_before > BUSY * cores) {
    printNote(
      pc.yellow(
        `The machine was busy (load ${load_before.toFixed(1)} on ${cores} cores): measure again when it is quiet.`,
      ),
    );
  }
  for (const name of Object.keys(found) as SettingName[]) {
    if (!loaded.origins[name].startsWith("environment")) continue;
    printNote(
      pc.yellow(`${settings[name].env} is set in the environment and overrides a file's ${name}.`),
    );
  }
}
