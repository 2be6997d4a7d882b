/** A source in another cluster: how `--from` names it, and whether this process is connected to it. */
import type { Cluster } from "../cluster/cluster.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { RunRecord } from "./run-record.js";

/** An index of another cluster. */
export interface RemoteIndex {
  /** The cluster's URL, without credentials. */
  readonly cluster: string;
  readonly index: string;
}

/**
 * Reads `https://old:9200/products`: an index, or an alias of one, behind a cluster's URL.
 * @returns undefined for anything that is no URL.
 * @throws CspladeError `usage` for a URL without an index or with credentials, which would be kept in the run's record.
 */
export function parseRemote(from: string): RemoteIndex | undefined {
  if (!/^https?:\/\//.test(from)) return undefined;
  const url = URL.parse(from);
  const parts = url?.pathname.split("/").filter((part) => part !== "") ?? [];
  const name = parts.pop();
  if (url === null || name === undefined || url.search !== "" || url.hash !== "") {
    throw new CspladeError("usage", `${withoutUser(from)} names no index of a cluster.`, {
      hint: "For example: --from https://old.example:9200/products",
    });
  }
  if (url.username !== "" || url.password !== "") {
    throw new CspladeError("usage", `--from ${withoutUser(from)} must be without credentials.`, {
      hint: "Give them apart, to workers too: CSPLADE_SOURCE_USERNAME and CSPLADE_SOURCE_PASSWORD, or CSPLADE_SOURCE_API_KEY.",
    });
  }
  const cluster = [url.origin, ...parts].join("/");
  return { cluster, index: decodeURIComponent(name) };
}

function withoutUser(url: string): string {
  return url.replace(/\/\/[^/]*@/, "//");
}

/** @throws CspladeError `config_invalid` where this process reads from another cluster, or from none. */
export function demandSourceCluster({ source }: Cluster, wanted: string): void {
  if (source?.url === wanted) return;
  throw new CspladeError(
    "config_invalid",
    `The documents are in ${wanted}, and source.url here is ${source?.url ?? "not set"}.`,
    {
      hint: `Set CSPLADE_SOURCE_URL=${wanted} and that cluster's credentials (CSPLADE_SOURCE_USERNAME, CSPLADE_SOURCE_PASSWORD or CSPLADE_SOURCE_API_KEY), for workers too.`,
    },
  );
}

/** As {@link demandSourceCluster}, of a run that was planned before. */
export function demandSourceOf({ source }: Pick<RunRecord, "source">, cluster: Cluster): void {
  if (source.type === "index" && source.cluster !== undefined) {
    demandSourceCluster(cluster, source.cluster);
  }
}
