/** `csplade status`: the runs, or one run as it goes. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { connectCluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import { isInterrupted, numbersOf } from "../reindex/run-numbers.js";
import { openRunStore, type RunStore } from "../reindex/run-store.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine } from "./outcome.js";
import {
  createRateMeter,
  runLines,
  runsLines,
  type RateMeter,
  type RunStatus,
} from "./status-view.js";

interface StatusFlags {
  readonly once?: true;
  readonly json?: true;
}

/** Pause between two looks, milliseconds. */
const LOOK_MS = 2_000;

/** Slices shown at most. */
const MOST_SHOWN = 100;

/** Builds the command. */
export function statusCommand(): Command {
  return configuredCommand("status", ["opensearch.url"])
    .description("The reindexing runs, or one run as it goes: slices, rate, ETA, errors, workers.")
    .argument("[run]", "a run, or its alias")
    .option("--once", "print once instead of showing it live")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Examples:
  csplade status
  csplade status products
  csplade status products --json | jq .slices`,
    )
    .action(async (name: string | undefined, _flags: StatusFlags, command: Command) => {
      const flags: StatusFlags = command.opts();
      const { values } = configOf(command.opts());
      await untilInterrupted((signal) => show(values, name, flags, signal)).catch(
        (thrown: unknown) => {
          // Ctrl-C is how a live view ends.
          if ((thrown as { code?: string }).code !== "aborted") throw thrown;
        },
      );
    });
}

async function show(
  config: Config,
  name: string | undefined,
  flags: StatusFlags,
  signal: AbortSignal,
): Promise<void> {
  const cluster = connectCluster(config);
  try {
    const store = openRunStore(cluster, { config, signal });
    if (name === undefined) {
      const runs = await store.listRuns();
      const states = await Promise.all(
        runs.map(async (run) => ({ run, totals: await store.totals(run.run) })),
      );
      if (flags.json) printJson({ runs: states.map(asJson) });
      else for (const line of runsLines(states)) printLine(line);
      return;
    }
    const { run } = await store.findRun(name);
    const status = await look(store, run);
    if (flags.json) {
      printJson({ ...asJson(status), running: status.running, failed: status.failed });
      return;
    }
    const meter = createRateMeter();
    if (flags.once || !process.stdout.isTTY) {
      for (const line of runLines(status, meter)) printLine(line);
      return;
    }
    await live(store, run, meter, signal);
  } finally {
    await cluster.close();
  }
}

/** Draws the view again and again, on the alternate screen, until the run or the watching ends. */
async function live(
  store: RunStore,
  run: string,
  meter: RateMeter,
  signal: AbortSignal,
): Promise<void> {
  process.stdout.write("\x1b[?1049h\x1b[?25l");
  let last: string[] = [];
  try {
    while (!signal.aborted) {
      const status = await look(store, run);
      const room = Math.max(5, process.stdout.rows - 1);
      last = runLines(status, meter, process.stdout.columns);
      process.stdout.write("\x1b[H\x1b[J" + last.slice(0, room).join("\n"));
      if (status.run.state === "done" || status.run.state === "failed") break;
      await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
    }
  } finally {
    process.stdout.write("\x1b[?25h\x1b[?1049l");
  }
  for (const line of last) printLine(line);
}

async function look(store: RunStore, name: string): Promise<RunStatus> {
  const { record } = await store.readRun(name);
  const totals = await store.totals(name);
  const running = await store.listSlices(name, ["running"], MOST_SHOWN);
  const failed = await store.listSlices(name, ["failed"], MOST_SHOWN);
  return { run: record, totals, running, failed };
}

function asJson({ run, totals }: Pick<RunStatus, "run" | "totals">) {
  const { counts } = totals;
  const { state, target, created_at, finished_at, message, control, passes } = run;
  return {
    ...numbersOf({ run, totals }),
    state,
    interrupted: isInterrupted(run),
    target,
    model: run.model.name,
    created_at,
    finished_at: finished_at ?? null,
    message: message ?? null,
    control,
    counts,
    passes,
    verification: run.verification ?? null,
  };
}
