/**
 * What the indices behind an expression hold, asked with the caller's own rights and kept for
 * seconds: an alias that is moved to another model must be noticed.
 */
import { LRUCache } from "lru-cache";
import { z } from "zod";
import { askCapabilities, type Capabilities } from "../cluster/capabilities.js";
import type { Cluster } from "../cluster/cluster.js";
import type { Send } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { IndexModel, IndexPlan } from "../index/index-meta.js";
import { sortIndices } from "../index/searched-indices.js";
import type { Caller } from "./caller.js";
import { namesOf, type IndexOptions, type SearchTarget } from "./search-target.js";

/** The CSPLADE indices behind an expression. */
export interface SearchedIndices {
  /** Their names; other indices behind the expression are left out. */
  readonly names: readonly string[];
  /** How they keep vectors; undefined where there is no such index. */
  readonly plan: IndexPlan | undefined;
  /**
   * True unless each name of the expression is an index with vectors: behind an alias or a pattern
   * there may be others, of which the filtered answer says nothing.
   */
  readonly partial: boolean;
  /** Indices with vectors of another model: they match nothing. */
  readonly foreign: readonly string[];
}

/** The cluster's own refusal of a look-up (401, 403, 404 …), to be passed on as it is. */
export class ClusterRefusal extends CspladeError {
  readonly status: number;
  readonly body: unknown;

  constructor(status: number, body: unknown) {
    super("cluster_rejected", `The cluster answered ${status} when it was asked for mappings.`);
    this.status = status;
    this.body = body;
  }
}

/** Look-ups on behalf of callers. */
export interface IndexPlans {
  /**
   * @throws ClusterRefusal; CspladeError `model_mismatch`, `index_invalid`, `cluster_unreachable`.
   */
  plan(target: SearchTarget, caller: Caller): Promise<SearchedIndices>;
  /** Names of all indices of the gateway's model that the caller may see. */
  names(caller: Caller): Promise<readonly string[]>;
  /** The indices of a point in time. @throws as {@link IndexPlans.plan} does. */
  pitExpression(pit: string, caller: Caller): Promise<string>;
  /** @throws ClusterRefusal for 401; CspladeError as askCapabilities does. */
  capabilities(caller: Caller): Promise<Capabilities>;
}

const PLAN_TTL_MS = 10_000;
const CAPABILITIES_TTL_MS = 60_000;
const CACHED = 1_000;
const LOOKUP_TIMEOUT_MS = 10_000;

/** A mapping, most of it left out. */
const metasSchema = z.record(
  z.string(),
  z.object({
    mappings: z.object({ _meta: z.object({ csplade: z.unknown() }).optional() }).optional(),
  }),
);

const fingerprintSchema = z.object({ fingerprint: z.string() });

const pitSchema = z.object({
  aggregations: z.object({
    indices: z.object({ buckets: z.array(z.object({ key: z.string() })) }),
  }),
});

/**
 * @param cluster a connection without credentials of its own.
 * @param model the gateway's model; indices of another one are refused.
 */
export function createIndexPlans(cluster: Cluster, model: IndexModel): IndexPlans {
  const plans = cacheOf<SearchedIndices>(PLAN_TTL_MS);
  const pits = cacheOf<string>(CAPABILITIES_TTL_MS);
  const abilities = cacheOf<Capabilities>(CAPABILITIES_TTL_MS);

  function sendAs(caller: Caller): Send {
    return (request) =>
      cluster.send({ ...request, headers: caller.headers, timeoutMs: LOOKUP_TIMEOUT_MS });
  }

  /** `_meta.csplade` by index, undefined for those that have none. */
  async function askMetas(
    path: string,
    options: IndexOptions,
    caller: Caller,
  ): Promise<Readonly<Record<string, unknown>>> {
    const answer = await sendAs(caller)({
      method: "GET",
      path,
      query: { ...options, filter_path: "*.mappings._meta.csplade" },
    });
    if (answer.status >= 400) throw new ClusterRefusal(answer.status, answer.body);
    const parsed = metasSchema.safeParse(answer.body);
    if (!parsed.success) return {};
    return Object.fromEntries(
      Object.entries(parsed.data).map(([name, { mappings }]) => [name, mappings?._meta?.csplade]),
    );
  }

  async function askPlan(target: SearchTarget, caller: Caller): Promise<SearchedIndices> {
    const { expression, options } = target;
    const path = expression === undefined ? "/_mapping" : `/${expression}/_mapping`;
    const metas = await askMetas(path, options, caller);
    // One index of another model among others matches nothing; if it is all there is, say so.
    const { names, plan, foreign } = sortIndices(metas, model);
    const asked = namesOf(target);
    const partial = asked.length === 0 || asked.some((name) => !names.includes(name));
    return { names, plan, foreign, partial };
  }

  return {
    plan(target, caller) {
      const { expression, options } = target;
      return plans(keyOf(caller, expression ?? "", JSON.stringify(options)), () =>
        askPlan(target, caller),
      );
    },
    async names(caller) {
      const found = await askMetas("/_mapping", {}, caller);
      return Object.keys(found)
        .filter(
          (name) =>
            fingerprintSchema.safeParse(found[name]).data?.fingerprint === model.fingerprint,
        )
        .sort();
    },
    pitExpression(pit, caller) {
      return pits(keyOf(caller, pit), async () => {
        const answer = await sendAs(caller)({
          method: "POST",
          path: "/_search",
          body: {
            size: 0,
            // One document of each shard is enough to see whose it is.
            terminate_after: 1,
            pit: { id: pit },
            aggs: { indices: { terms: { field: "_index", size: 1_000 } } },
          },
        });
        if (answer.status >= 400) throw new ClusterRefusal(answer.status, answer.body);
        const parsed = pitSchema.safeParse(answer.body);
        if (!parsed.success) {
          throw new CspladeError(
            "cluster_rejected",
            "The cluster does not say which indices the point in time is of.",
            { cause: parsed.error },
          );
        }
        return parsed.data.aggregations.indices.buckets
          .map((bucket) => encodeURIComponent(bucket.key))
          .join(",");
      });
    },
    capabilities: (caller) =>
      abilities(keyOf(caller), () => askCapabilities(refusing(sendAs(caller)), cluster.url)),
  };
}

/** Who is not let in at all is told so in the cluster's own words. */
function refusing(send: Send): Send {
  return async (request) => {
    const answer = await send(request);
    if (answer.status === 401) throw new ClusterRefusal(answer.status, answer.body);
    return answer;
  };
}

/** A cache whose failures are not kept; one look-up at a time for the same key. */
function cacheOf<T extends object | string>(
  ttl: number,
): (key: string, ask: () => Promise<T>) => Promise<T> {
  // With a resolution the cache would set a timer to forget the time it looked at.
  const kept = new LRUCache<string, Promise<T>>({ max: CACHED, ttl, ttlResolution: 0 });
  return (key, ask) => {
    const found = kept.get(key);
    if (found !== undefined) return found;
    const asked = ask();
    kept.set(key, asked);
    asked.catch(() => {
      if (kept.peek(key) === asked) kept.delete(key);
    });
    return asked;
  };
}

/** The caller is part of the key: what one may see is not for another. */
function keyOf(caller: Caller, ...parts: readonly string[]): string {
  return [caller.key, ...parts].join("\0");
}
