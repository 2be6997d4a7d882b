/** The settings of the gateway (`csplade serve`), a part of the settings table. */
import { z } from "zod";
import { count, flag, jsonList, names, type Setting } from "./setting-schemas.js";

/** As in {@link settings}. */
export const gatewaySettings = {
  "gateway.host": {
    schema: z.string().min(1).default("127.0.0.1"),
    env: "CSPLADE_GATEWAY_HOST",
    help: "Address that csplade serve listens on; 0.0.0.0 lets other machines in.",
  },
  "gateway.port": {
    schema: count(0, 65_535, 9260),
    env: "CSPLADE_GATEWAY_PORT",
    help: "Port that csplade serve listens on; 0 takes a free one.",
  },
  "gateway.api_key": {
    schema: z.string().min(1).optional(),
    env: "CSPLADE_GATEWAY_API_KEY",
    help: "Key that the encode routes demand (Authorization: Bearer KEY); open without it.",
    secret: true,
  },
  "gateway.max_body_bytes": {
    schema: count(1024, 1_073_741_824, 10_485_760),
    env: "CSPLADE_GATEWAY_MAX_BODY_BYTES",
    help: "Largest body that is read whole: texts to encode, searches to look into.",
  },
  "gateway.max_batch_texts": {
    schema: count(1, 10_000, 256),
    env: "CSPLADE_GATEWAY_MAX_BATCH_TEXTS",
    help: "Most texts in one encode request.",
  },
  "gateway.queue_texts": {
    schema: count(1, 1_000_000, 1024),
    env: "CSPLADE_GATEWAY_QUEUE_TEXTS",
    help: "Most texts waiting for the encoder; above it requests are answered 429.",
  },
  "gateway.cache_entries": {
    schema: count(0, 10_000_000, 10_000),
    env: "CSPLADE_GATEWAY_CACHE_ENTRIES",
    help: "Vectors of short texts that are kept; 0 keeps none.",
  },
  "gateway.request_timeout_ms": {
    schema: count(100, 3_600_000, 60_000),
    env: "CSPLADE_GATEWAY_REQUEST_TIMEOUT_MS",
    help: "Deadline of encoding for one request, milliseconds.",
  },
  "gateway.upstream_timeout_ms": {
    schema: count(100, 86_400_000, 600_000),
    env: "CSPLADE_GATEWAY_UPSTREAM_TIMEOUT_MS",
    help: "How long a forwarded request may be silent before it is given up, milliseconds.",
  },
  "gateway.idle_timeout_ms": {
    schema: count(100, 3_600_000, 60_000),
    env: "CSPLADE_GATEWAY_IDLE_TIMEOUT_MS",
    help: "How long a client may be silent while it sends headers or a body, milliseconds.",
  },
  "gateway.keep_alive_ms": {
    schema: count(1_000, 86_400_000, 650_000),
    env: "CSPLADE_GATEWAY_KEEP_ALIVE_MS",
    help: "How long an idle connection is kept, milliseconds; longer than any client or balancer before it keeps its own.",
  },
  "gateway.identity_headers": {
    schema: names([
      ...["authorization", "proxy-authorization", "cookie", "securitytenant"],
      ...["*impersonate*", "es-security-runas-user", "es-secondary-authorization"],
      ...["x-*user*", "x-*role*", "x-*group*", "x-*auth*", "x-*token*", "x-*tenant*", "x-*cert*"],
    ]),
    env: "CSPLADE_GATEWAY_IDENTITY_HEADERS",
    help: "Headers (names, or patterns with *) that tell callers apart: what one sees of the cluster is not kept for another.",
  },
  "gateway.allowed_origins": {
    schema: jsonList(z.string().min(1)),
    env: "CSPLADE_GATEWAY_ALLOWED_ORIGINS",
    help: 'Other sites whose pages may send requests from a browser: a list such as ["https://kibana.example"]; "*" for all.',
  },
  "gateway.drain_ms": {
    schema: count(0, 3_600_000, 25_000),
    env: "CSPLADE_GATEWAY_DRAIN_MS",
    help: "How long open requests may take to end after SIGTERM, milliseconds.",
  },
  "gateway.queue_board": {
    schema: flag(true),
    env: "CSPLADE_GATEWAY_QUEUE_BOARD",
    help: "Show the queues at /_csplade/queues to whom the cluster lets read csplade-runs; read-only.",
  },
  "gateway.rules": {
    schema: jsonList(
      z.strictObject({
        index: z.string().min(1),
        fields: z.array(z.string().min(1)).max(100).default([]),
        boost: z.number().positive().max(1e6).default(1),
        expansion: z.number().min(0).max(10).default(0),
        rerank: count(0, 1_000, 0),
        vector_fields: z.array(z.string().min(1)).max(100).default([]),
      }),
    ),
    env: "CSPLADE_GATEWAY_RULES",
    help: "What other queries get: a list of {index: pattern, fields: [texts to widen], boost, expansion: factor of words added in indices without vectors, rerank: how many hits, vector_fields: [fields of semantic queries that ask for our vectors]}.",
  },
} as const satisfies Record<string, Setting>;
