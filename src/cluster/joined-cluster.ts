/**
 * Two clusters as one: a reindexing reads from one and writes into another. An index of the one that is
 * read is named `source:NAME` (a colon is in no index's name), and requests about it go there. That
 * cluster is only read: no other request reaches it.
 */
import { CspladeError } from "../errors/csplade-error.js";
import type { Cluster } from "./client-cluster.js";
import type { ClusterRequest } from "./request.js";

/** How the names of indices of the cluster that is read begin. */
const PREFIX = "source:";

/** The name under which an index of the other cluster is asked for. */
export function sourceIndex(name: string): string {
  return `${PREFIX}${name}`;
}

/** The name that an index has in its own cluster. */
export function ownIndexName(index: string): string {
  return index.startsWith(PREFIX) ? index.slice(PREFIX.length) : index;
}

/** True for an index of the cluster that is only read. */
export function isSourceIndex(index: string): boolean {
  return index.startsWith(PREFIX);
}

/** Joins the cluster that is written with the one that is read. */
export function joinedCluster(target: Cluster, source: Cluster): Cluster {
  const route = (request: ClusterRequest): [Cluster, ClusterRequest] => {
    const path = sourcePath(request.path);
    if (path === undefined) return [target, request];
    demandReading({ ...request, path }, source);
    return [source, { ...request, path }];
  };
  return {
    url: target.url,
    source,
    async send(request) {
      const [cluster, routed] = route(request);
      return await cluster.send(routed);
    },
    async sendText(request) {
      const [cluster, routed] = route(request);
      return await cluster.sendText(routed);
    },
    async demand(request, doing) {
      const [cluster, routed] = route(request);
      return await cluster.demand(routed, doing);
    },
    async demandText(request, doing) {
      const [cluster, routed] = route(request);
      return await cluster.demandText(routed, doing);
    },
    capabilities: (index) =>
      (index !== undefined && isSourceIndex(index) ? source : target).capabilities(),
    async close() {
      await Promise.all([target.close(), source.close()]);
    },
  };
}

/** The path of a request that is about an index of the source; undefined for any other. */
function sourcePath(path: string): string | undefined {
  const segments = path.split("/");
  // An index stands first, or last where the state of the cluster is asked for it; ids stand elsewhere.
  const place = segments[1] === "_cluster" && segments[2] === "state" ? segments.length - 1 : 1;
  const name = decodeURIComponent(segments[place] ?? "");
  if (!isSourceIndex(name)) return undefined;
  return segments.with(place, encodeURIComponent(ownIndexName(name))).join("/");
}

/** What may be posted to a cluster that is only read: searches, and making visible what is there. */
const READING = new Set(["_search", "_count", "_mget", "_refresh"]);

/** @throws CspladeError `cluster_rejected`: a fault of csplade's own, stopped before it is sent. */
function demandReading({ method, path }: ClusterRequest, { url }: Cluster): void {
  const action = path.slice(path.lastIndexOf("/") + 1);
  if (method === "GET" || method === "HEAD" || (method === "POST" && READING.has(action))) return;
  throw new CspladeError(
    "cluster_rejected",
    `${method} ${path} was not sent to ${url}, from which csplade only reads.`,
    { hint: "This is a fault of csplade; please report it." },
  );
}
