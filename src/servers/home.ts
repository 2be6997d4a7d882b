/**
 * The folder of the embedded servers: where everything lies in it, who owns
 * what, and that servers which gave up root can reach their part.
 */
import { constants } from "node:fs";
import { access, chmod, chown, mkdir, stat, statfs } from "node:fs/promises";
import path from "node:path";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** Paths below one home. */
export interface Home {
  readonly root: string;
  /** Servers' own data; owned by the servers' user. */
  readonly data: string;
  readonly logs: string;
  readonly config: string;
  /** Scratch of the servers (JNA unpacks there). */
  readonly scratch: string;
  /** Pids, ports, versions of what was started. */
  readonly stateFile: string;
}

/** User and group the servers run as, where it is not the caller's own. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

/** `nobody` on every Linux; OpenSearch refuses root, and a server needs no more than this. */
const nobody: ServerUser = { uid: 65534, gid: 65534 };

/** The paths of a home folder. */
export function homeAt(root: string): Home {
  const absolute = path.resolve(root);
  return {
    root: absolute,
    data: path.join(absolute, "data"),
    logs: path.join(absolute, "logs"),
    config: path.join(absolute, "config"),
    scratch: path.join(absolute, "scratch"),
    stateFile: path.join(absolute, "servers.json"),
  };
}

/** Who servers run as: `undefined` is the caller itself. */
export function serverUser(): ServerUser | undefined {
  return process.getuid?.() === 0 ? nobody : undefined;
}

/**
 * Makes the folders and gives the servers' user its part.
 * @throws CspladeError `server_failed` when it cannot be written or entered.
 */
export async function prepareHome(home: Home): Promise<void> {
  const user = serverUser();
  await makeFolder(home.root);
  for (const folder of [home.data, home.logs, home.scratch]) {
    await makeFolder(folder);
    if (user !== undefined) await chown(folder, user.uid, user.gid);
  }
  await makeFolder(home.config);
  if (user !== undefined) {
    // A folder made by mkdtemp or under umask 077 would keep the servers' user out.
    for (const folder of [home.root, home.config]) {
      await chmod(folder, (await stat(folder)).mode | 0o055);
    }
    await demandTraversable(home.root);
  }
}

/** Makes a folder that the servers' user owns (recursively only what is new). */
export async function makeServerFolder(folder: string): Promise<void> {
  await makeFolder(folder);
  const user = serverUser();
  if (user !== undefined) await chown(folder, user.uid, user.gid);
}

/**
 * Makes a folder, parents included.
 * @throws CspladeError `server_failed` when it is not a writable folder afterwards.
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new CspladeError(
      "server_failed",
      `The folder ${folder} for the embedded servers cannot be written: ${messageOf(cause)}.`,
      { cause, hint: "Choose a folder you may write to with --home or CSPLADE_HOME." },
    );
  }
}

async function demandTraversable(folder: string): Promise<void> {
  const others = 0o001;
  for (let at = folder; ; at = path.dirname(at)) {
    if (((await stat(at)).mode & others) === 0) {
      throw new CspladeError(
        "server_failed",
        `The servers do not run as root, and their user may not enter ${at} on the way to ${folder}.`,
        { hint: `Choose another folder with --home or CSPLADE_HOME, or run: chmod o+x ${at}` },
      );
    }
    if (path.dirname(at) === at) return;
  }
}

/**
 * Refuses to go on where the disk is nearly full.
 * @param bytes how many must be free for unprivileged users.
 * @throws CspladeError `server_failed`.
 */
export async function demandDiskSpace(folder: string, bytes: number, what: string): Promise<void> {
  const disk = await statfs(folder);
  const free = disk.bavail * disk.bsize;
  if (free >= bytes) return;
  throw new CspladeError(
    "server_failed",
    `${what} needs ${megabytes(bytes)} MB in ${folder}, and only ${megabytes(free)} MB are free.`,
    { hint: "Free some space, or choose a folder on another disk with --home or CSPLADE_HOME." },
  );
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1_000_000);
}
