/**
 * The name that an index is written by: a hidden alias of its own. A cluster creates an index for a
 * write to a name that it does not know, and no setting of ours can forbid it. But it cannot create
 * one of a name with capitals, which an alias may have. So a write to an index that was deleted, or
 * deleted and made again by somebody else, is refused.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import type { Cluster } from "./cluster.js";
import { codeOfStatus, pathOf, reasonOf } from "./request.js";
import { CspladeError } from "../errors/csplade-error.js";

/** Ends the alias's name; begins like the index, so that patterns of privileges reach it. */
const SUFFIX = ".csplade-WRITE";

/** Longest name of an index or alias, bytes. */
const MOST_BYTES = 255;

/** The alias an index is written by. */
export function writeAliasOf(index: string): string {
  const name = index + SUFFIX;
  if (Buffer.byteLength(name) <= MOST_BYTES) return name;
  const hash = createHash("sha256").update(index).digest("hex").slice(0, 16);
  const room = MOST_BYTES - hash.length - 1 - SUFFIX.length;
  return `${Buffer.from(index)
    .subarray(0, room)
    .toString()
    .replace(/\ufffd+$/, "")}-${hash}${SUFFIX}`;
}

/** `aliases` of an index that is created. */
export function writeAliasBody(index: string): Readonly<Record<string, object>> {
  return { [writeAliasOf(index)]: { is_hidden: true } };
}

const aliasesSchema = z.record(
  z.string(),
  z.object({ aliases: z.record(z.string(), z.unknown()) }),
);

/**
 * Finds the name to write by: the alias itself if `name` is somebody's alias, else the index's own
 * hidden one.
 * @param options `adopts`: adds the hidden alias where it is missing.
 * @throws CspladeError `index_not_found`; `cluster_rejected`, `cluster_busy`, `cluster_unreachable`.
 */
export async function resolveWriteName(
  cluster: Cluster,
  name: string,
  { adopts, signal }: { readonly adopts: boolean; readonly signal?: AbortSignal | undefined },
): Promise<string> {
  const asked = { ...(signal === undefined ? {} : { signal }) };
  const answer = await cluster.send({ method: "GET", path: pathOf(name, "_alias"), ...asked });
  if (answer.status === 404) {
    throw new CspladeError("index_not_found", `There is no index ${name} to write to.`, {
      hint: "It may have been deleted meanwhile, or it is a data stream.",
    });
  }
  const found = aliasesSchema.safeParse(answer.body).data;
  if (answer.status >= 400 || found === undefined) {
    throw new CspladeError(
      codeOfStatus(answer.status),
      `Looking up ${name}: ${cluster.url} answered ${answer.status}: ${reasonOf(answer.body)}`,
    );
  }
  const index = found[name];
  if (index === undefined) return name;
  const alias = writeAliasOf(name);
  if (Object.hasOwn(index.aliases, alias)) return alias;
  if (!adopts) {
    throw new CspladeError(
      "index_not_found",
      `The index ${name} was deleted, and somebody made another one of its name.`,
      { hint: "Run the command again if that is the index to write to." },
    );
  }
  await addWriteAlias(cluster, name, signal);
  return alias;
}

/** Gives an existing index the alias that it is written by. Doing it again changes nothing. */
async function addWriteAlias(cluster: Cluster, index: string, signal?: AbortSignal): Promise<void> {
  const actions = [{ add: { index, alias: writeAliasOf(index), is_hidden: true } }];
  const answer = await cluster.send({
    method: "POST",
    path: "/_aliases",
    body: { actions },
    ...(signal === undefined ? {} : { signal }),
  });
  if (answer.status < 400) return;
  if (answer.status === 404) {
    throw new CspladeError("index_not_found", `There is no index ${index} to write to.`);
  }
  throw new CspladeError(
    codeOfStatus(answer.status),
    `Adding the alias ${writeAliasOf(index)}: ${cluster.url} answered ${answer.status}: ${reasonOf(answer.body)}`,
    {
      hint: `csplade writes through it, so that no write creates an index: grant the right to manage aliases of ${index}.`,
    },
  );
}
