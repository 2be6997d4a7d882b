/** What the gateway counts, in Prometheus' terms. One registry per gateway. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

/** The gateway's metrics. */
export interface Metrics {
  readonly registry: Registry;
  /** Answered requests. */
  readonly requests: Counter<"route" | "status">;
  /** Time from a request's first byte to its answer's last, seconds. */
  readonly seconds: Histogram<"route">;
  /** Texts given to the encoder at once. */
  readonly batchTexts: Histogram;
  /** Texts that wait for the encoder. */
  readonly queueTexts: Gauge;
  /** Look-ups in the cache of vectors. */
  readonly cache: Counter<"result">;
  /** Tokens encoded, without padding. */
  readonly tokens: Counter;
  /** Searches whose body was changed, or refused by the gateway itself. */
  readonly rewrites: Counter<"outcome">;
}

/** Latency buckets, seconds: from a cached vector to a deadline. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Fresh metrics, all zero. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  return {
    registry,
    requests: new Counter({
      name: "csplade_gateway_requests_total",
      help: "Answered requests.",
      labelNames: ["route", "status"],
      registers,
    }),
    seconds: new Histogram({
      name: "csplade_gateway_request_seconds",
      help: "Time from a request to the end of its answer.",
      labelNames: ["route"],
      buckets: SECONDS,
      registers,
    }),
    batchTexts: new Histogram({
      name: "csplade_encode_batch_texts",
      help: "Texts given to the encoder at once.",
      buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
      registers,
    }),
    queueTexts: new Gauge({
      name: "csplade_encode_queue_texts",
      help: "Texts that wait for the encoder.",
      registers,
    }),
    cache: new Counter({
      name: "csplade_vector_cache_lookups_total",
      help: "Look-ups in the cache of vectors.",
      labelNames: ["result"],
      registers,
    }),
    tokens: new Counter({
      name: "csplade_encode_tokens_total",
      help: "Tokens encoded, without padding.",
      registers,
    }),
    rewrites: new Counter({
      name: "csplade_search_rewrites_total",
      help: "Searches whose body was changed (rewritten), or refused by the gateway (refused).",
      labelNames: ["outcome"],
      registers,
    }),
  };
}
