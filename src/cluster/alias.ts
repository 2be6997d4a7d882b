/** Aliases: what stands behind one, and moving it without a moment in which it leads nowhere. */
import { z } from "zod";
import type { Cluster } from "./cluster.js";
import { pathOf } from "./request.js";
import { CspladeError } from "../errors/csplade-error.js";

/** How an alias leads to one of its indices: what the cluster keeps per index, as `_aliases` takes it. */
export const aliasMemberSchema = z.object({
  index: z.string(),
  /** Query DSL: the documents that the alias shows. */
  filter: z.record(z.string(), z.unknown()).optional(),
  index_routing: z.string().optional(),
  search_routing: z.string().optional(),
  is_write_index: z.boolean().optional(),
  is_hidden: z.boolean().optional(),
});

/** How an alias leads to one of its indices. */
export type AliasMember = z.infer<typeof aliasMemberSchema>;

const aliasesSchema = z.record(
  z.string(),
  z.object({ aliases: z.record(z.string(), aliasMemberSchema.omit({ index: true })) }),
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
  return (await readAlias(cluster, alias)).map(({ index }) => index);
}

/**
 * How an alias leads to its indices, by their names; empty if it does not exist.
 * @throws CspladeError `index_invalid` if the name is that of an index.
 */
async function readAlias(cluster: Cluster, alias: string): Promise<AliasMember[]> {
  const use = await lookUpName(cluster, alias);
  if (use.kind === "free") return [];
  if (use.kind === "index") {
    throw new CspladeError(
      "index_invalid",
      `${alias} is an index, not an alias: it cannot be moved to another index.`,
      {
        hint: `Choose another alias. To keep the name, reindex into --to ${alias}-current, then delete the index and give the alias its name.`,
      },
    );
  }
  const request = { method: "GET", path: pathOf("_alias", alias) } as const;
  const found = aliasesSchema.parse(await cluster.demand(request, `Looking at the alias ${alias}`));
  return Object.entries(found)
    .map(([index, { aliases }]) => ({ ...aliases[alias], index }))
    .sort((a, b) => (a.index < b.index ? -1 : 1));
}

/**
 * The one index behind an alias, as it leads to it; undefined if there is no such alias.
 * @throws CspladeError `index_invalid` if it leads to several: moving it would take the others from it.
 */
export async function readOwnAlias(
  cluster: Cluster,
  alias: string,
): Promise<AliasMember | undefined> {
  const members = await readAlias(cluster, alias);
  if (members.length <= 1) return members[0];
  throw new CspladeError(
    "index_invalid",
    `The alias ${alias} leads to ${members.length} indices (${members.map(({ index }) => index).join(", ")}): moved to one new index it would lose the others.`,
    {
      hint: "Choose an alias of its own for the new index, and add that index to this alias by hand.",
    },
  );
}

/**
 * Moves an alias in one step of the cluster: no request finds it missing or double. It leads to the
 * new indices as `to` says, with filter, routing and all. Fails, without changing anything, if it left
 * one of the indices it was expected to have.
 * @throws CspladeError `cluster_rejected`, `index_not_found`.
 */
export async function moveAlias(
  cluster: Cluster,
  alias: string,
  from: readonly string[],
  to: readonly AliasMember[],
): Promise<void> {
  const removed = from.filter((index) => !to.some((member) => member.index === index));
  const actions = [
    ...removed.map((index) => ({ remove: { index, alias, must_exist: true } })),
    ...to.map((member) => ({ add: { alias, ...member } })),
  ];
  await cluster.demand(
    { method: "POST", path: "/_aliases", body: { actions } },
    `Moving the alias ${alias} to ${to.map(({ index }) => index).join(", ")}`,
  );
}
