/** Names of processes, by which another one can tell that a process of its own machine is gone. */
import { randomUUID } from "node:crypto";
import { readlinkSync } from "node:fs";
import os from "node:os";

/** This process, as what it owns names it: `host:pid:token`. */
export const thisProcess = [machine(), process.pid, randomUUID().slice(0, 8)].join(":");

/** True if it is certain that the process is gone: it was one of this machine, and is not there. */
export function isGone(owner: string): boolean {
  const [, host, pid, token] = /^(.*):(\d+):([0-9a-f]+)$/.exec(owner) ?? [];
  if (host !== machine()) return false;
  if (Number(pid) === process.pid) return owner !== thisProcess && token !== undefined;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === "ESRCH";
  }
}

/** The host's name, and on Linux its numbering of processes: containers may share the first alone. */
function machine(): string {
  try {
    return `${os.hostname()}/${readlinkSync("/proc/self/ns/pid").replace(/\D/g, "")}`;
  } catch {
    return os.hostname();
  }
}
