/** The indices that csplade keeps for itself: run records and dead letters. */
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { codeOfStatus, pathOf, reasonOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { writeAliasBody } from "../cluster/write-alias.js";

/**
 * Creates the index unless it is there, waiting for a cluster that is away.
 * @param body settings and mappings.
 * @throws CspladeError `cluster_busy` at the end of the patience, else `cluster_rejected`.
 */
export async function createInternalIndex(
  cluster: Cluster,
  patience: Patience,
  name: string,
  body: object,
): Promise<void> {
  await patiently(patience, async () => {
    const { signal } = patience;
    const whole = { ...body, aliases: writeAliasBody(name) };
    const answer = await cluster.send({ method: "PUT", path: pathOf(name), body: whole, signal });
    const reason = answer.status < 400 ? "" : reasonOf(answer.body);
    if (answer.status < 400 || reason.includes("resource_already_exists_exception")) return;
    throw new CspladeError(
      codeOfStatus(answer.status),
      `Creating the index ${name}: ${cluster.url} answered ${answer.status}: ${reason}`,
    );
  });
}
