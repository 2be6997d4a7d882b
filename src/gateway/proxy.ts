/**
 * The proxy: searches are looked into and rewritten where they hold a `csplade` clause; every
 * other request, and every answer, streams through as it is, with the caller's own credentials.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { onBehalfOf, type Cluster } from "../cluster/client-cluster.js";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { CorpusIdf } from "../query/corpus-idf.js";
import { searchedFields } from "../query/searched-fields.js";
import { callerOf, type Caller } from "./caller.js";
import { inConversations, spokenTexts } from "./conversation.js";
import { textsOf } from "./encode-requests.js";
import type { EncodeService } from "./encode-service.js";
import { reportUnexpected, retryAfter } from "./http-error.js";
import { ClusterRefusal, type IndexPlans } from "./index-plans.js";
import type { Metrics } from "./metrics.js";
import { openSearchError } from "./opensearch-error.js";
import { readBody } from "./request-body.js";
import { requestLife, type RequestLife } from "./request-life.js";
import type { Reranker } from "../rerank/reranker.js";
import { answerReranked, planReranking, type RerankedSearch } from "./reranked-search.js";
import { rewriteSearches, type RewriteContext } from "./search-rewriter.js";
import { mayHaveClause } from "./search-scan.js";
import { SCANNED_AT_ONCE_BYTES, type SearchScanner } from "./search-scanner.js";
import { namesOf, searchTarget } from "./search-target.js";
import { applyEdits } from "./text-edits.js";
import type { Upstream } from "./upstream.js";

/** What the proxy works with. */
export interface ProxyOptions {
  readonly config: Config;
  readonly service: EncodeService;
  readonly plans: IndexPlans;
  readonly corpusIdf: CorpusIdf;
  /** A connection without credentials of its own. */
  readonly cluster: Cluster;
  readonly upstream: Upstream;
  readonly scanner: SearchScanner;
  readonly metrics: Metrics;
  readonly reranker?: Reranker | undefined;
}

/** Answers a request from the cluster. Never throws. */
export type Proxy = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** Bodies that are read; CBOR, SMILE and YAML pass as they are. */
const JSON_TYPE = /^\s*(?:$|application\/(?:[^;]*\+)?(?:x-nd)?json\b|text\/plain\b)/i;

/** The proxy in front of a cluster. */
export function createProxy(options: ProxyOptions): Proxy {
  const { config, upstream, metrics, scanner } = options;
  const timeout = config["gateway.request_timeout_ms"];
  const rules = config["gateway.rules"];
  const scanned = {
    questions: rules.some(({ fields }) => fields.length > 0),
    vector_fields: rules.flatMap(({ vector_fields }) => vector_fields),
    max_clauses: config["gateway.max_batch_texts"],
    reranks: rules.some(({ rerank }) => rerank > 0),
  };

  return async (request, response) => {
    // What the body was when it was found to be wrong, to say where.
    let plain: Buffer | undefined;
    try {
      const target = searchTarget(request.method ?? "", request.url ?? "");
      if (target === undefined || !JSON_TYPE.test(request.headers["content-type"] ?? "")) {
        await upstream.forward(request, response);
        return;
      }
      const life = requestLife(response, timeout);
      if (request.headers.expect !== undefined) response.writeContinue();
      const body = await readBody(request, config["gateway.max_body_bytes"], life);
      if (body.more) {
        if (mayHaveClause(body.raw)) throw tooLarge(config["gateway.max_body_bytes"]);
        await upstream.forward(request, response, { body: body.raw, more: true });
        return;
      }
      const { raw } = body;
      const clause = body.plain !== undefined && mayHaveClause(body.plain);
      if (body.plain === undefined || (rules.length === 0 && !clause)) {
        await upstream.forward(request, response, { body: raw });
        return;
      }
      const caller = callerOf(request, config["gateway.identity_headers"]);
      if (clause || body.plain.length > SCANNED_AT_ONCE_BYTES) await demandLetIn(caller, options);
      plain = body.plain;
      const scan = await scanner.scan(plain, target, scanned, life);
      if (scan.searches.length === 0) {
        await upstream.forward(request, response, { body: raw });
        return;
      }
      const text = plain.toString("utf8");
      const context = contextOf(caller, life, options);
      const { edits, warnings, reranked } = await rewriteSearches(text, scan, context);
      const [search, ...more] = reranked.flatMap(
        (each) => planReranking(each, request, options.reranker !== undefined) ?? [],
      );
      const changed = edits.length > 0;
      if (changed) metrics.rewrites.inc({ outcome: "rewritten" });
      if (search !== undefined) {
        const searches = [search, ...more] as const;
        const body = applyEdits(text, [...edits, ...searches.flatMap((each) => each.edits)]);
        await answerInOrder(request, response, searches, { body, warnings }, caller, options);
        return;
      }
      await upstream.forward(request, response, {
        body: changed ? Buffer.from(applyEdits(text, edits)) : raw,
        rewritten: changed,
        warnings,
      });
    } catch (thrown) {
      if (plain !== undefined) metrics.rewrites.inc({ outcome: "refused" });
      reportUnexpected(thrown);
      refuse(request, response, thrown, plain);
    }
  };
}

/**
 * Ends a request of somebody whom the cluster does not know, before work is done for it: by the
 * look-up that a clause needs anyway. Anything else that is wrong shows when it is needed.
 */
async function demandLetIn(caller: Caller, { plans }: ProxyOptions): Promise<void> {
  try {
    await plans.capabilities(caller);
  } catch (thrown) {
    if (thrown instanceof ClusterRefusal && thrown.status === 401) throw thrown;
  }
}

/** Answers searches in their reranker's order. */
async function answerInOrder(
  request: IncomingMessage,
  response: ServerResponse,
  searches: readonly [RerankedSearch, ...RerankedSearch[]],
  rewritten: { readonly body: string; readonly warnings: readonly string[] },
  caller: Caller,
  { config, upstream, cluster, reranker }: ProxyOptions,
): Promise<void> {
  if (reranker === undefined) return;
  const timeoutMs = config["rerank.timeout_ms"];
  const { signal } = requestLife(response, config["gateway.upstream_timeout_ms"] + timeoutMs);
  const asCaller = onBehalfOf(cluster, caller.headers);
  const means = { upstream, reranker, timeoutMs, cluster: asCaller, signal };
  await answerReranked(request, response, searches, rewritten, means);
}

function contextOf(
  caller: Caller,
  life: RequestLife,
  { config, service, plans, corpusIdf, cluster }: ProxyOptions,
): RewriteContext {
  return {
    rules: config["gateway.rules"],
    indices: async (target, pit) => {
      if (pit === undefined || target.expression !== undefined) return plans.plan(target, caller);
      const expression = await plans.pitExpression(pit, caller);
      if (expression === "") return { names: [], plan: undefined, partial: false, foreign: [] };
      return plans.plan({ ...target, expression }, caller);
    },
    capabilities: () => plans.capabilities(caller),
    encode: async (asked) => {
      const spoken = asked.flatMap((question) =>
        spokenTexts(question).map((text) => ({
          text,
          factor: question.expansion ?? config["query.expansion"],
        })),
      );
      const texts = textsOf(
        spoken.map(({ text }) => text),
        config["gateway.max_batch_texts"],
      );
      const encoded = await service.encode(texts, "query", life, caller.key);
      const factors = spoken.map(({ factor }) => factor);
      const expanded = await service.expanded(texts, encoded, factors, life);
      return inConversations(asked, expanded, config["query.history_decay"]);
    },
    pruning: {
      prune_type: config["query.prune_type"],
      prune_ratio: config["query.prune_ratio"],
    },
    weigh: (question, { target, pit }, { names, plan }, before) => {
      const asked = {
        cluster: onBehalfOf(cluster, caller.headers),
        // As the caller named them, whose rights may be on an alias only.
        index: namesOf(target).join(",") || names.join(","),
        pit: target.expression === undefined ? pit : undefined,
        options: target.options,
        indices: names,
        fields: searchedFields(plan ?? { passages: "merged" }).fields,
        caller: caller.key,
        // Read only when the cluster has to be asked.
        get signal() {
          return life.signal;
        },
      };
      return corpusIdf.weigh(question, asked, before);
    },
    added: (question) => service.addedWords(question),
    isTerm: (id) => service.isTerm(id),
  };
}

function tooLarge(limit: number): CspladeError {
  return new CspladeError(
    "batch_too_large",
    `The search holds a csplade clause and is larger than the ${limit} bytes that the gateway reads.`,
    { hint: "Raise gateway.max_body_bytes, or send less in one search." },
  );
}

function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  thrown: unknown,
  plain: Buffer | undefined,
): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const { status, body } = openSearchError(thrown, plain);
  const wait = retryAfter(status);
  const content = Buffer.from(JSON.stringify(body));
  response.writeHead(status, {
    "content-type": "application/json; charset=UTF-8",
    "content-length": content.length,
    ...(wait === undefined ? {} : { "retry-after": wait }),
    ...(status === 401 ? { "www-authenticate": 'Basic realm="cluster"' } : {}),
    // What is left of a body that was not read whole would be taken for the next request.
    ...(request.readableEnded ? {} : { connection: "close" }),
  });
  response.end(request.method === "HEAD" ? undefined : content);
}
