/** Unpacking and rewriting zip files (wheels, plugins, jars), whole in memory: the largest is 35 MB. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { unzipSync, zipSync } from "fflate";
import { CspladeError } from "../errors/csplade-error.js";

/**
 * Unpacks a zip file below `folder`.
 * @param rename the path of an entry below `folder`; `undefined` leaves the entry out.
 * @throws CspladeError `download_failed` when an entry would land outside `folder`.
 */
export async function unpackZip(
  file: string,
  folder: string,
  rename: (name: string) => string | undefined = (name) => name,
): Promise<void> {
  const made = new Set<string>();
  for (const [name, bytes] of Object.entries(unzipSync(await readFile(file)))) {
    const renamed = rename(name);
    if (renamed === undefined || name.endsWith("/")) continue;
    const target = path.join(folder, renamed);
    if (!target.startsWith(folder + path.sep)) {
      throw new CspladeError(
        "download_failed",
        `${file} has an entry outside its folder: ${name}.`,
      );
    }
    const parent = path.dirname(target);
    if (!made.has(parent)) await mkdir(parent, { recursive: true });
    made.add(parent);
    await writeFile(target, bytes);
  }
}

/** Writes a copy of a zip file with only the entries for which `keep` holds. */
export async function filterZip(
  file: string,
  copy: string,
  keep: (name: string) => boolean,
): Promise<void> {
  const entries = Object.entries(unzipSync(await readFile(file)));
  await writeFile(copy, zipSync(Object.fromEntries(entries.filter(([name]) => keep(name)))));
}
