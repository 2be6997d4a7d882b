/** How commands end: what they print for people or machines, and their exit codes. */
import pc from "picocolors";
import { CspladeError, isDeviceFailure, messageOf } from "../errors/csplade-error.js";

/** Exit codes of every command. */
export const EXIT = {
  ok: 0,
  /** The command could not do its work. */
  failed: 1,
  /** Wrong usage or configuration. */
  usage: 2,
  /** The work was done, but some documents failed. */
  incomplete: 3,
  /** The device that encodes is broken: no document is to blame, and the work can be taken up again. */
  device: 4,
  /** More documents failed than may, or too little is found: the alias stays where it is. Trying again changes nothing. */
  refused: 5,
  /** Stopped by Ctrl-C or SIGTERM. */
  interrupted: 130,
} as const;

/** Prints one JSON value on standard output. */
export function printJson(value: unknown): void {
  process.stdout.write(JSON.stringify(value) + "\n");
}

/** Prints a line for people on standard output. */
export function printLine(line = ""): void {
  process.stdout.write(line + "\n");
}

/** Prints a line for people on standard error, where it does not mix with results. */
export function printNote(line: string): void {
  process.stderr.write(line + "\n");
}

/** Prints an error as one sentence with its hint, or as JSON, and gives the exit code for it. */
export function reportError(thrown: unknown, json: boolean): number {
  const known = thrown instanceof CspladeError ? thrown : undefined;
  const message = messageOf(thrown);
  if (json) {
    printJson({ error: { code: known?.code ?? "unexpected", message, hint: known?.hint } });
  } else {
    printNote(`${pc.red("error:")} ${message}`);
    if (known?.hint !== undefined) printNote(`${pc.dim("hint:")} ${known.hint}`);
    if (known === undefined && thrown instanceof Error) printNote(pc.dim(thrown.stack ?? ""));
  }
  if (known?.code === "usage" || known?.code === "config_invalid") return EXIT.usage;
  if (isDeviceFailure(thrown)) return EXIT.device;
  if (known?.code === "too_many_dead_letters" || known?.code === "quality_too_low") {
    return EXIT.refused;
  }
  if (known?.code === "aborted") return EXIT.interrupted;
  return EXIT.failed;
}
