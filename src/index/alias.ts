/** Aliases: what stands behind one, and moving it without a moment in which it leads nowhere. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";

const aliasesSchema = z.record(
  z.string(),
  z.object({ aliases: z.record(z.string(), z.unknown()) }),
);

/** What a name is in the cluster. */
export type NameUse =
  | { readonly kind: "free" }
  | { readonly kind: "index" }
  | { readonly kind: "alias"; readonly indices: readonly string[] };

/** Asks what a name stands for. */
export async function lookUpName(cluster: Cluster, name: string): Promise<NameUse> {
  const answer = await cluster.send({ method: "GET", path: pathOf(name, "_alias") });
  if (answer.status === 404) return { kind: "free" };
  if (answer.status >= 400) {
    await cluster.demand({ method: "GET", path: pathOf(name, "_alias") }, `Looking up ${name}`);
  }
  const indices = Object.keys(aliasesSchema.parse(answer.body)).sort();
  if (indices.length === 1 && indices[0] === name) return { kind: "index" };
  return indices.length === 0 ? { kind: "free" } : { kind: "alias", indices };
}

/** The indices behind an alias, none if it does not exist. @throws CspladeError `index_invalid`. */
export async function indicesBehind(cluster: Cluster, alias: string): Promise<readonly string[]> {
  const use = await lookUpName(cluster, alias);
  if (use.kind === "free") return [];
  if (use.kind === "alias") return use.indices;
  throw new CspladeError(
    "index_invalid",
    `${alias} is an index, not an alias: it cannot be moved to another index.`,
    {
      hint: `Choose another alias. To keep the name, reindex into --to ${alias}-current, then delete the index and give the alias its name.`,
    },
  );
}

/**
 * Moves an alias to one index in one step of the cluster: no request finds it missing or double.
 * Fails, without changing anything, if it left one of the indices it was expected to have.
 * @throws CspladeError `cluster_rejected`, `index_not_found`.
 */
export async function moveAlias(
  cluster: Cluster,
  alias: string,
  from: readonly string[],
  to: readonly string[],
): Promise<void> {
  const removed = from.filter((index) => !to.includes(index));
  const [only] = to;
  const actions = [
    ...removed.map((index) => ({ remove: { index, alias, must_exist: true } })),
    ...to.map((index) => ({
      add: { index, alias, ...(to.length === 1 && only === index ? { is_write_index: true } : {}) },
    })),
  ];
  await cluster.demand(
    { method: "POST", path: "/_aliases", body: { actions } },
    `Moving the alias ${alias} to ${to.join(", ")}`,
  );
}
