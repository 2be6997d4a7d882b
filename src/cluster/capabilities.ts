/** What a cluster can do, asked from the cluster and never guessed from a URL. */
import { z } from "zod";
import { CspladeError } from "../errors/csplade-error.js";
import { reasonOf, type Send } from "./request.js";

/** Answers of one cluster. */
export interface Capabilities {
  readonly distribution: "opensearch" | "elasticsearch";
  /** Full version, for example `3.6.0`. */
  readonly version: string;
  readonly major: number;
  readonly minor: number;
  /** OpenSearch with the neural-search plugin on every data node. */
  readonly neural_sparse: boolean;
  /** Elasticsearch ≥ 8.15: the `sparse_vector` query with `query_vector`. */
  readonly sparse_vector_query: boolean;
  /** Elasticsearch ≥ 9.2: fields of vectors are left out of `_source` (see `whole-source.ts`). */
  readonly hides_vectors: boolean;
  /** Names of installed plugins (empty where the cluster does not tell). */
  readonly plugins: readonly string[];
  /** `indices.query.bool.max_clause_count` in force; 1024 where the cluster does not tell. */
  readonly max_clause_count: number;
}

const rootSchema = z.object({
  version: z.object({
    number: z.string().regex(/^\d+\.\d+/),
    distribution: z.string().optional(),
    build_flavor: z.string().optional(),
  }),
});

const pluginsSchema = z.array(z.object({ component: z.string() }));

const clauseSettingsSchema = z.object({
  persistent: z.record(z.string(), z.unknown()),
  transient: z.record(z.string(), z.unknown()),
  defaults: z.record(z.string(), z.unknown()).optional(),
});

/** {@link Capabilities.version} of a cluster that does not tell these credentials what it is. */
export const UNKNOWN_VERSION = "unknown";

/** What every OpenSearch and Elasticsearch can do. */
const LEAST: Capabilities = {
  distribution: "opensearch",
  version: UNKNOWN_VERSION,
  major: 0,
  minor: 0,
  neural_sparse: false,
  sparse_vector_query: false,
  hides_vectors: false,
  plugins: [],
  max_clause_count: 1024,
};

const CLAUSE_SETTING = "indices.query.bool.max_clause_count";

/**
 * Asks a cluster what it is and can do (three cheap requests). All of them may be refused by
 * least-privilege credentials, which means "unknown" and not an error: who may read one index
 * and nothing else is searched for with what every cluster takes.
 * @throws CspladeError `cluster_unsupported` if the URL is no OpenSearch or Elasticsearch.
 */
export async function askCapabilities(send: Send, url: string): Promise<Capabilities> {
  const root = await send({ method: "GET", path: "/" });
  if (root.status === 403) return LEAST;
  if (root.status >= 400) {
    throw new CspladeError(
      root.status === 401 ? "cluster_rejected" : "cluster_unsupported",
      `Asking ${url} what it is: it answered ${root.status}: ${reasonOf(root.body)}`,
      { hint: "Check the URL and the credentials (OPENSEARCH_USERNAME, OPENSEARCH_PASSWORD)." },
    );
  }
  const parsed = rootSchema.safeParse(root.body);
  if (!parsed.success) {
    throw new CspladeError(
      "cluster_unsupported",
      `${url} does not answer like OpenSearch or Elasticsearch.`,
    );
  }
  const { number, distribution, build_flavor } = parsed.data.version;
  const [major = 0, minor = 0] = number.split(".").map((part) => Number.parseInt(part, 10));
  const isOpenSearch = distribution === "opensearch";
  const plugins = await askPlugins(send);
  return {
    distribution: isOpenSearch ? "opensearch" : "elasticsearch",
    version: number,
    major,
    minor,
    neural_sparse: isOpenSearch && plugins.some((name) => /neural-search/.test(name)),
    sparse_vector_query: !isOpenSearch && (major > 8 || (major === 8 && minor >= 15)),
    // Serverless tells the number of an old version, and is the newest.
    hides_vectors:
      !isOpenSearch && (major > 9 || (major === 9 && minor >= 2) || build_flavor === "serverless"),
    plugins,
    max_clause_count: await askClauseLimit(send),
  };
}

async function askPlugins(send: Send): Promise<string[]> {
  const answer = await send({
    method: "GET",
    path: "/_cat/plugins",
    query: { format: "json", h: "component" },
  });
  const parsed = pluginsSchema.safeParse(answer.body);
  return answer.status < 400 && parsed.success
    ? [...new Set(parsed.data.map((plugin) => plugin.component))]
    : [];
}

async function askClauseLimit(send: Send): Promise<number> {
  const answer = await send({
    method: "GET",
    path: "/_cluster/settings",
    query: { flat_settings: true, include_defaults: true },
  });
  const parsed = clauseSettingsSchema.safeParse(answer.body);
  if (answer.status >= 400 || !parsed.success) return 1024;
  const { transient, persistent, defaults } = parsed.data;
  const limit = Number(
    transient[CLAUSE_SETTING] ?? persistent[CLAUSE_SETTING] ?? defaults?.[CLAUSE_SETTING],
  );
  return Number.isInteger(limit) && limit > 0 ? limit : 1024;
}
