/** A clause of the cluster's query DSL, and how much of the clause limit it uses up. */

/** One query as the cluster takes it: `{"term": {…}}`. Built here or given by the user. */
export type QueryClause = Readonly<Record<string, unknown>>;

/**
 * An upper estimate of the Lucene clauses behind a user's clause: one per JSON object in it
 * (a `range` is two in Lucene and three objects here) and one per word of its strings.
 */
export function estimateClauses(clause: unknown): number {
  if (typeof clause === "string") return clause.trim().split(/\s+/).length - 1;
  if (clause === null || typeof clause !== "object") return 0;
  const inside = Object.values(clause).reduce<number>(
    (sum, value) => sum + estimateClauses(value),
    0,
  );
  return inside + (Array.isArray(clause) ? 0 : 1);
}

/** Several filters as one clause; nothing where there is none. */
export function oneFilter(
  filter: QueryClause | readonly QueryClause[] | undefined,
): QueryClause | undefined {
  if (filter === undefined) return undefined;
  return Array.isArray(filter) ? { bool: { filter } } : (filter as QueryClause);
}
