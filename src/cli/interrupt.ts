/** Ctrl-C and termination as an AbortSignal, and what a command says when it meets one. */
import type { Command } from "commander";
import { withoutPasswords } from "../config/without-passwords.js";
import { CspladeError } from "../errors/csplade-error.js";
import { printNote } from "./outcome.js";

const endings = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** What a command that is stopped says at once: draining may take longer than patience does. */
export interface Stopping {
  /** What was done so far, a line each; nothing before anything was. */
  done(): readonly string[];
  /** The command that goes on where this one stops. */
  goOn(): string;
}

/**
 * Does `work` with a signal that is aborted when the process is asked to end;
 * a second Ctrl-C ends it at once, because the handlers are gone by then.
 * @throws CspladeError `aborted` for whatever fails after that: stopping is the reason.
 */
export async function untilInterrupted<T>(
  work: (signal: AbortSignal) => Promise<T>,
  stopping?: Stopping,
): Promise<T> {
  const interruption = new AbortController();
  const interrupt = (): void => {
    detach();
    interruption.abort();
    if (stopping === undefined) return;
    printNote("Stopping: what is under way is finished. Ctrl-C again ends at once.");
    for (const line of stopping.done()) printNote(line);
    printNote(`Go on with: ${stopping.goOn()}`);
  };
  const detach = (): void => {
    for (const ending of endings) process.off(ending, interrupt);
  };
  for (const ending of endings) process.on(ending, interrupt);
  try {
    return await work(interruption.signal);
  } catch (thrown) {
    if (!interruption.signal.aborted) throw thrown;
    const [first] = stopping?.done() ?? [];
    throw new CspladeError(
      "aborted",
      first === undefined ? "Interrupted." : `Interrupted: ${first}`,
      {
        cause: thrown,
        ...(stopping === undefined ? {} : { hint: `Go on with: ${stopping.goOn()}` }),
      },
    );
  } finally {
    detach();
  }
}

/** The command that this process was started with, to be typed again. */
export function sameCommand(): string {
  return typed(["csplade", ...process.argv.slice(2)]);
}

/**
 * A command with those of its options that were given, to be typed again.
 * @param instead options that take the place of others
 * @param without names of options left out, as Commander names their values
 */
export function commandWith(
  command: Command,
  instead: readonly string[],
  without: ReadonlySet<string>,
): string {
  const given = command.options.filter((option) => {
    const name = option.attributeName();
    return command.getOptionValueSource(name) === "cli" && !without.has(name);
  });
  const flags = given.flatMap((option) => {
    const value: unknown = command.getOptionValue(option.attributeName());
    // `--swap` and `--no-swap` share a value.
    if (typeof value === "boolean") return value === option.negate ? [] : [option.long ?? ""];
    return [option.long ?? "", String(value)];
  });
  return typed(["csplade", command.name(), ...instead, ...flags]);
}

/** Words as a POSIX shell reads them; what signs in is left out. */
function typed(words: readonly string[]): string {
  return words
    .map((word) => withoutPasswords(word))
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}
