/** What was started below a home, in a file, so that another process can find and stop it. */
import { readFileSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { z } from "zod";
import { opensearchVersions } from "./distribution-lock.js";
import type { Home } from "./home.js";

const port = z.number().int().min(1).max(65_535);
const pid = z.number().int().min(2);

const stateSchema = z.object({
  opensearch: z
    .object({ pid, port, version: z.enum(opensearchVersions), heap: z.string() })
    .optional(),
  redis: z.object({ pid, port }).optional(),
});

/** Recorded servers; a record does not prove that the process still lives. */
export type ServersState = z.infer<typeof stateSchema>;

/** The recorded servers of a home; a missing or damaged file is an empty record. */
export function readState(home: Home): ServersState {
  try {
    return stateSchema.parse(JSON.parse(readFileSync(home.stateFile, "utf8")));
  } catch {
    return {};
  }
}

/** Changes the record (whole or not at all). The caller holds the home's lock. */
export async function changeState(home: Home, change: Partial<ServersState>): Promise<void> {
  const next = { ...readState(home), ...change };
  if (next.opensearch === undefined && next.redis === undefined) {
    await rm(home.stateFile, { force: true });
    return;
  }
  const temporary = `${home.stateFile}.new`;
  await writeFile(temporary, `${JSON.stringify(next, null, 2)}\n`);
  await rename(temporary, home.stateFile);
}
