/** `csplade steer`: pauses a reindexing, lets it go on, makes it slower or faster. */
import type { Command } from "commander";
import { connectCluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { withDeadline } from "../waiting/deadline.js";
import { openSliceQueue } from "../queue/slice-queue.js";
import type { RunControl } from "../reindex/run-record.js";
import { concurrencyOf } from "../reindex/run-control.js";
import { openRunStore } from "../reindex/run-store.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine } from "./outcome.js";

interface SteerFlags {
  readonly pause?: true;
  readonly resume?: true;
  readonly rate?: string;
  readonly concurrency?: string;
  readonly json?: true;
}

/** Builds the command. */
export function steerCommand(): Command {
  return configuredCommand("steer", ["opensearch.url", "redis.url"])
    .description("Pause a reindexing, let it go on, make it slower or faster, while it runs.")
    .argument("<run>", "the run, or its alias")
    .option("--pause", "stop all slices at their next checkpoint; workers then scale to zero")
    .option("--resume", "go on")
    .option("--rate <n>", "documents per second of all workers together; 0 lifts the limit")
    .option("--concurrency <n>", "slices at once of all workers together; 0 lifts the limit")
    .option("--json", "print the steering as one JSON object")
    .addHelpText(
      "after",
      `
Workers hear of it within some seconds.

Examples:
  csplade steer products --pause
  csplade steer products --resume --rate 2000`,
    )
    .action(async (run: string, _flags: SteerFlags, command: Command) => {
      const flags: SteerFlags = command.opts();
      const { values } = configOf(command.opts());
      const control = await untilInterrupted((signal) => steer(values, run, flags, signal));
      if (flags.json) printJson(control);
      else printLine(phrase(control));
    });
}

async function steer(
  config: Config,
  name: string,
  flags: SteerFlags,
  signal: AbortSignal,
): Promise<RunControl> {
  if (flags.pause && flags.resume) {
    throw new CspladeError("usage", "--pause and --resume exclude each other.");
  }
  const change: Partial<RunControl> = {
    ...(flags.pause ? { paused: true } : {}),
    ...(flags.resume ? { paused: false } : {}),
    ...(flags.rate === undefined ? {} : { documents_per_second: limit("--rate", flags.rate) }),
    ...(flags.concurrency === undefined
      ? {}
      : { concurrency: limit("--concurrency", flags.concurrency) }),
  };
  const cluster = connectCluster(config);
  try {
    const store = openRunStore(cluster, { config, signal });
    const found = await store.findRun(name);
    if (found.state === "done" || found.state === "rolled_back") {
      throw new CspladeError("usage", `The run ${found.run} is over: there is nothing to steer.`);
    }
    const { run } = found;
    const { control } = await store.updateRun(run, (now) => ({
      ...now,
      control: { ...now.control, ...change },
    }));
    if (change.concurrency !== undefined) {
      const queue = await openSliceQueue(config, found.model.fingerprint);
      try {
        const set = queue.setConcurrency(concurrencyOf(await store.listRuns(), found.model));
        await withDeadline(set, 10_000, "Setting the concurrency");
      } finally {
        await queue.close();
      }
    }
    return control;
  } finally {
    await cluster.close();
  }
}

/** A number above 0, or null for "no limit". @throws CspladeError `usage`. */
function limit(option: string, value: string): number | null {
  const number = Number(value);
  if (value.trim() !== "" && Number.isFinite(number) && number >= 0) {
    return number === 0 ? null : option === "--concurrency" ? Math.ceil(number) : number;
  }
  throw new CspladeError("usage", `${option} must be a number from 0, not "${value}".`);
}

function phrase({ paused, documents_per_second, concurrency }: RunControl): string {
  return [
    paused ? "Paused" : "Not paused",
    documents_per_second === null ? "no rate limit" : `${documents_per_second} documents/s`,
    concurrency === null ? "as many slices as the workers take" : `${concurrency} slices at once`,
  ].join(", ");
}
