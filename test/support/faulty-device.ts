/** A device that can be broken and mended while encoders work on it (`session-faults.ts`). */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { packageRoot } from "../../src/config/package-root.js";

/** What can be wrong with a device. */
export type DeviceFault =
  "throw" | "throw-from" | "die-from" | "hang" | "hold" | "kill" | "memory" | "text" | "text-ends";

/** A device. */
export interface FaultyDevice {
  /** Options of Node.js under which sessions are on it. */
  readonly execArgv: readonly string[];
  /** The same for a process, as environment variables. */
  readonly env: Readonly<Record<string, string>>;
  /** Breaks it; `from` is the n of `throw-from`, `die-from` and `memory`, the token of `text`. */
  break(fault: DeviceFault, from?: number): void;
  mend(fault: DeviceFault): void;
  remove(): void;
}

/** A device without a fault as yet. */
export function faultyDevice(): FaultyDevice {
  const folder = mkdtempSync(path.join(os.tmpdir(), "csplade-device-"));
  const preload = path.join(packageRoot, "dist", "test", "support", "session-faults.js");
  return {
    execArgv: ["--import", preload],
    env: { NODE_OPTIONS: `--import ${preload}`, CSPLADE_TEST_FAULTS: folder },
    break: (fault, from = 0) => writeFileSync(path.join(folder, fault), String(from)),
    mend: (fault) => rmSync(path.join(folder, fault), { force: true }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
