/**
 * A reranker behind HTTP. Asked in the form of text-embeddings-inference (`query`, `texts`), or where a
 * model is named in Cohere's (`model`, `query`, `documents`); the answers of both are understood.
 */
import { z } from "zod";
import type { Config } from "../config/settings.js";
import { connectRemote } from "../encoder/remote-client.js";
import type { Reranker } from "./reranker.js";

/** Texts of one request: what text-embeddings-inference takes by default. */
const TEXTS_AT_ONCE = 32;

const place = z.number().int().min(0);
const answerSchema = z.union([
  z.array(z.object({ index: place, score: z.number() })),
  z
    .object({ results: z.array(z.object({ index: place, relevance_score: z.number() })) })
    .transform(({ results }) =>
      results.map(({ index, relevance_score }) => ({ index, score: relevance_score })),
    ),
]);

/** Connects lazily. A path in the URL is used as it is; without one it is that of the server's kind. */
export function openRemoteReranker(config: Config, address: string): Reranker {
  const model = config["rerank.remote_model"];
  const client = connectRemote({
    address,
    key: config["rerank.remote_key"],
    timeoutMs: config["rerank.timeout_ms"],
    patienceMs: config["rerank.timeout_ms"],
  });
  const named = new URL(address).pathname.replace(/\/$/, "") !== "";
  const path = named ? "" : model === undefined ? "/rerank" : "/v2/rerank";

  async function scoreSome(query: string, texts: readonly string[], signal: AbortSignal) {
    const body =
      model === undefined
        ? { query, texts, truncate: true }
        : { model, query, documents: texts, top_n: texts.length };
    const answer = await client.ask(path, body, answerSchema, signal);
    const scores = new Map(answer.map(({ index, score }) => [index, score]));
    return texts.map((_, i) => {
      const score = scores.get(i);
      if (score !== undefined) return score;
      throw new Error(`${client.url} answered ${texts.length} texts with ${answer.length} scores.`);
    });
  }

  return {
    name: model ?? client.url,
    async score(question, texts, signal) {
      // One part that fails makes the others useless.
      const failed = new AbortController();
      const all = AbortSignal.any([signal, failed.signal]);
      const parts: Promise<number[]>[] = [];
      for (let at = 0; at < texts.length; at += TEXTS_AT_ONCE) {
        parts.push(scoreSome(question, texts.slice(at, at + TEXTS_AT_ONCE), all));
      }
      try {
        return (await Promise.all(parts)).flat();
      } catch (thrown) {
        failed.abort(thrown);
        await Promise.allSettled(parts);
        throw thrown;
      }
    },
    close: () => client.close(),
  };
}
