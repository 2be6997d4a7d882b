/** Settings that a new index has only while it is filled, and those it has afterwards. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { pathOf } from "../cluster/request.js";
import type { RunRecord } from "./run-record.js";

/** What changing settings needs. */
interface SettingsContext {
  readonly cluster: Cluster;
  readonly patience: Patience;
}

/**
 * While an index is filled nobody searches it: no refreshes, and no replica that would index every
 * document again. Deletes are remembered longer than any write can be under way.
 */
const WHILE_LOADING = {
  auto_expand_replicas: "false",
  number_of_replicas: "0",
  refresh_interval: "-1",
  gc_deletes: "1h",
} as const;

const settingsSchema = z.record(
  z.string(),
  z.object({ settings: z.record(z.string(), z.unknown()) }),
);

/** Reads what the index is to have in the end; null for what is not set. */
export async function readLastingSettings(
  { cluster, patience }: SettingsContext,
  index: string,
): Promise<Record<string, string | null>> {
  const body = await patiently(patience, () =>
    cluster.demand(
      { method: "GET", path: pathOf(index, "_settings"), query: { flat_settings: true } },
      `Looking at the settings of ${index}`,
    ),
  );
  const found = settingsSchema.parse(body)[index]?.settings ?? {};
  const names = Object.keys(WHILE_LOADING);
  return Object.fromEntries(
    names.map((name) => {
      const value = found[`index.${name}`];
      return [name, typeof value === "string" ? value : null];
    }),
  );
}

/** Sets what is good for the bulk of the writing. */
export async function prepareForLoad(
  context: SettingsContext,
  run: Pick<RunRecord, "target">,
): Promise<void> {
  await setSettings(context, run.target, WHILE_LOADING, "Preparing");
}

/**
 * Gives the index its replicas and refreshes back.
 * @param whole also how long deletes are remembered: when nothing of the run is written any more.
 */
export async function restoreSettings(
  context: SettingsContext,
  { target, restore = { refresh_interval: null } }: Pick<RunRecord, "target" | "restore">,
  whole: boolean,
): Promise<void> {
  const { gc_deletes, auto_expand_replicas, ...rest } = restore;
  // Expanding counts the replicas itself.
  const expands = typeof auto_expand_replicas === "string" && auto_expand_replicas !== "false";
  const lasting = {
    ...rest,
    ...(expands ? { number_of_replicas: undefined } : {}),
    ...(auto_expand_replicas === undefined ? {} : { auto_expand_replicas }),
    ...(whole && gc_deletes !== undefined ? { gc_deletes } : {}),
  };
  await setSettings(context, target, lasting, "Restoring the settings of");
}

async function setSettings(
  { cluster, patience }: SettingsContext,
  index: string,
  settings: object,
  doing: string,
): Promise<void> {
  const path = pathOf(index, "_settings");
  await patiently(patience, () =>
    cluster.demand({ method: "PUT", path, body: { index: settings } }, `${doing} ${index}`),
  );
}
