/**
 * The proxy: searches are looked into and rewritten where they hold a `csplade` clause; every
 * other request, and every answer, streams through as it is, with the caller's own credentials.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { onBehalfOf, type Cluster } from "../cluster/client-cluster.js";
import type { Config } from "../config/settings.js";
import {
  mayHaveClause,
  rewriteBody,
  type RewriteContext,
  type RewrittenBody,
} from "./body-rewriter.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { CorpusIdf } from "../query/corpus-idf.js";
import { searchedFields } from "../query/searched-fields.js";
import { callerOf, type Caller } from "./caller.js";
import { textsOf } from "./encode-requests.js";
import type { EncodeService } from "./encode-service.js";
import { reportUnexpected, retryAfter } from "./http-error.js";
import { ClusterRefusal, type IndexPlans } from "./index-plans.js";
import type { Metrics } from "./metrics.js";
import { openSearchError } from "./opensearch-error.js";
import { readBody } from "./request-body.js";
import { requestLife, type RequestLife } from "./request-life.js";
import { searchTarget, targetOfHeader, type SearchTarget } from "./search-target.js";
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
  readonly metrics: Metrics;
}

/** Answers a request from the cluster. Never throws. */
export type Proxy = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** Bodies that are read; CBOR, SMILE and YAML pass as they are. */
const JSON_TYPE = /^(?:$|application\/(?:.*\+)?(?:x-nd)?json\b|text\/plain\b)/;

/** The proxy in front of a cluster. */
export function createProxy(options: ProxyOptions): Proxy {
  const { config, upstream, metrics } = options;
  const rules = config["gateway.rules"];
  const timeout = config["gateway.request_timeout_ms"];

  return async (request, response) => {
    // What the body was when it was found to be wrong, to say where.
    let text: string | undefined;
    try {
      const target = searchTarget(request.method ?? "", request.url ?? "");
      if (target === undefined || !JSON_TYPE.test(request.headers["content-type"] ?? "")) {
        await upstream.forward(request, response);
        return;
      }
      const life = requestLife(response, timeout);
      const { raw, plain } = await readBody(request, config["gateway.max_body_bytes"], life);
      if (plain === undefined || (rules.length === 0 && !mayHaveClause(plain))) {
        await upstream.forward(request, response, { body: raw });
        return;
      }
      text = plain.toString("utf8");
      const caller = callerOf(request);
      const rewrite = (body: string, of: SearchTarget) =>
        rewriteBody(body, contextOf(of, caller, life, options));
      const rewritten =
        target.body === "msearch"
          ? await rewriteMany(text, target, rewrite)
          : await rewrite(text, target);
      if (rewritten.text !== undefined) metrics.rewrites.inc({ outcome: "rewritten" });
      await upstream.forward(request, response, {
        body: rewritten.text === undefined ? raw : Buffer.from(rewritten.text),
        rewritten: rewritten.text !== undefined,
        warnings: rewritten.warnings,
      });
    } catch (thrown) {
      if (text !== undefined) metrics.rewrites.inc({ outcome: "refused" });
      reportUnexpected(thrown);
      refuse(request, response, thrown, text);
    }
  };
}

function contextOf(
  target: SearchTarget,
  caller: Caller,
  life: RequestLife,
  { config, service, plans, corpusIdf, cluster }: ProxyOptions,
): RewriteContext {
  return {
    rules: config["gateway.rules"],
    expression: decoded(target.expression),
    indices: async (pit) => {
      if (pit === undefined || target.expression !== undefined) return plans.plan(target, caller);
      const expression = await plans.pitExpression(pit, caller);
      if (expression === "") return { names: [], plan: undefined };
      return plans.plan({ ...target, expression }, caller);
    },
    capabilities: () => plans.capabilities(caller),
    encode: (texts) =>
      service.encode(textsOf(texts, config["gateway.max_batch_texts"]), "query", life),
    pruning: {
      prune_type: config["query.prune_type"],
      prune_ratio: config["query.prune_ratio"],
    },
    weigh: (question, { names, plan }) =>
      corpusIdf.weigh(question, {
        cluster: onBehalfOf(cluster, caller.headers),
        // As the caller named them, whose rights may be on an alias only.
        index: decoded(target.expression).join(",") || names.join(","),
        options: target.options,
        indices: names,
        fields: searchedFields(plan?.passages ?? "merged").fields,
        caller: caller.key,
        // Read only when the cluster has to be asked.
        get signal() {
          return life.signal;
        },
      }),
    isTerm: (id) => service.isTerm(id),
  };
}

/** Rewrites the searches of an `_msearch`; lines that hold none keep their bytes. */
async function rewriteMany(
  text: string,
  target: SearchTarget,
  rewrite: (body: string, of: SearchTarget) => Promise<RewrittenBody>,
): Promise<RewrittenBody> {
  const lines = text.split("\n");
  const rewritten = await Promise.all(
    Array.from({ length: Math.floor(lines.length / 2) }, async (_, i) => {
      const [header = "", body = ""] = [lines[2 * i], lines[2 * i + 1]];
      try {
        return { line: 2 * i + 1, ...(await rewrite(body, targetOfHeader(header, target))) };
      } catch (thrown) {
        if (!(thrown instanceof CspladeError) || thrown instanceof ClusterRefusal) throw thrown;
        const { code, message, hint } = thrown;
        throw new CspladeError(code, `In search ${i + 1}: ${message}`, {
          cause: thrown,
          ...(hint === undefined ? {} : { hint }),
        });
      }
    }),
  );
  let changed = false;
  for (const { line, text: body } of rewritten) {
    if (body === undefined) continue;
    changed = true;
    lines[line] = body;
  }
  return {
    text: changed ? lines.join("\n") : undefined,
    warnings: rewritten.flatMap((each) => each.warnings),
  };
}

function decoded(expression: string | undefined): string[] {
  if (expression === undefined) return [];
  try {
    return decodeURIComponent(expression).split(",");
  } catch {
    return [expression];
  }
}

function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  thrown: unknown,
  text: string | undefined,
): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const { status, body } = openSearchError(thrown, text);
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
