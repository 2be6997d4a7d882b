/** Folders of spooled files, one per run: they go with their run, or are swept when it was killed. */
import { readdir, rm, stat } from "node:fs/promises";
import path from "node:path";

/** Age at which a folder is swept of which nobody can tell whether its owner is gone, milliseconds. */
const FORGOTTEN_MS = 30 * 86_400_000;

/** The folder of a run; its name says which process it belongs to. It is made when it is needed. */
export function spoolFolder(parent: string, run: string, owner: string): string {
  return path.join(parent, `${run}@${encodeURIComponent(owner)}`);
}

/**
 * Removes what killed runs left behind.
 * @param isGone whether it is certain that an owner is gone.
 */
export async function sweepSpoolFolders(
  parent: string,
  isGone: (owner: string) => boolean,
): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const folder = path.join(parent, name);
    const owner = ownerOf(name);
    const madeAt = (await stat(folder).catch(() => undefined))?.mtimeMs ?? Date.now();
    if (Date.now() - madeAt > FORGOTTEN_MS || isGone(owner)) {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

function ownerOf(name: string): string {
  try {
    return decodeURIComponent(name.slice(name.indexOf("@") + 1));
  } catch {
    return "";
  }
}
