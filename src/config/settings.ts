/**
 * Every setting there is: its name, where it may come from, its limits and its
 * default. `csplade doctor` prints this table with values and origins.
 */
import os from "node:os";
import path from "node:path";
import { z } from "zod";
import { pruneTypes } from "../sparse/prune.js";
import { gatewaySettings } from "./gateway-settings.js";
import { packageRoot } from "./package-root.js";

import { sourceSettings } from "./source-settings.js";
import { redisPrefix, redisUrl } from "./redis-url.js";
import { count, factor, flag, names, numeric, url, type Setting } from "./setting-schemas.js";

const pruneType = z.enum(pruneTypes);

/** Where embedded servers, their data and downloads live; root cannot use its own home (uid change). */
function defaultHome(): string {
  if (process.getuid?.() === 0) return "/var/lib/csplade";
  const data = process.env.XDG_DATA_HOME;
  return path.join(data ?? path.join(homeOfUser(), ".local", "share"), "csplade");
}

/** A container's user may have no entry among the machine's users, and then no home. */
function homeOfUser(): string {
  try {
    return os.homedir();
  } catch {
    return os.tmpdir();
  }
}

/** The settings table. Keys are the names used in `csplade.yaml` (nested by dots). */
export const settings = {
  home: {
    schema: z.string().min(1).default(defaultHome()),
    env: "CSPLADE_HOME",
    help: "Folder of the embedded servers, their data and what was downloaded for them.",
  },
  "opensearch.url": {
    schema: url("http://127.0.0.1:9250", /^https?$/),
    env: "OPENSEARCH_URL",
    help: "The OpenSearch or Elasticsearch cluster.",
  },
  "opensearch.username": {
    schema: z.string().optional(),
    env: "OPENSEARCH_USERNAME",
    help: "User for basic authentication.",
  },
  "opensearch.password": {
    schema: z.string().optional(),
    env: "OPENSEARCH_PASSWORD",
    help: "Password for basic authentication.",
    secret: true,
  },
  "opensearch.api_key": {
    schema: z.string().optional(),
    env: "OPENSEARCH_API_KEY",
    help: "Elasticsearch API key (sent as Authorization: ApiKey).",
    secret: true,
  },
  "opensearch.aws_region": {
    schema: z
      .string()
      .regex(/^[a-z]{2}(?:-[a-z]+)+-\d{1,2}$/, "must be a region such as eu-central-1")
      .optional(),
    env: "OPENSEARCH_AWS_REGION",
    help: "Region of an Amazon OpenSearch domain: requests are signed (SigV4) with the credentials AWS's tools find.",
  },
  "opensearch.aws_service": {
    schema: z.enum(["es", "aoss"]).default("es"),
    env: "OPENSEARCH_AWS_SERVICE",
    help: "What signed requests are for: es, a domain, or aoss, a serverless collection.",
  },
  "opensearch.ca_file": {
    schema: z.string().optional(),
    env: "OPENSEARCH_CA_FILE",
    help: "PEM file of the authority that signed the cluster's certificate.",
  },
  "opensearch.request_timeout_ms": {
    schema: count(100, 600_000, 60_000),
    env: "OPENSEARCH_REQUEST_TIMEOUT_MS",
    help: "Deadline of one request to the cluster, milliseconds.",
  },
  "redis.url": {
    schema: redisUrl.default("redis://127.0.0.1:6390"),
    env: "REDIS_URL",
    help: "The Redis that holds the queues: redis://, redis+cluster:// or redis+sentinel://…/PRIMARY; rediss with TLS.",
    secret: true,
  },
  "redis.prefix": {
    schema: redisPrefix.default("csplade"),
    env: "CSPLADE_REDIS_PREFIX",
    help: "Prefix of every key written to Redis.",
  },
  "queue.lock_ms": {
    schema: count(1_000, 600_000, 30_000),
    env: "CSPLADE_LOCK_MS",
    help: "How long a worker may be silent before its job is given to another one, milliseconds.",
  },
  "model.path": {
    schema: z
      .string()
      .min(1)
      .default(path.join(packageRoot, "models", "csplade-smollm2-135m-prompt")),
    env: "CSPLADE_MODEL",
    help: "The checkpoint directory.",
  },
  "model.remote": {
    schema: z
      .url({ protocol: /^https?$/, error: "must be a URL such as https://gateway:9260" })
      .optional(),
    env: "CSPLADE_REMOTE_ENCODER",
    help: "A csplade gateway or text-embeddings-inference that computes the graph of model.path; in this process without it.",
  },
  "model.remote_key": {
    schema: z.string().min(1).optional(),
    env: "CSPLADE_REMOTE_ENCODER_KEY",
    help: "Key for model.remote (Authorization: Bearer KEY).",
    secret: true,
  },
  "model.other_languages": {
    schema: z.enum(["words", "terms"]).default("words"),
    env: "CSPLADE_OTHER_LANGUAGES",
    help: "What texts and questions get in languages that the model does not know: their own words alone (words), or the model's terms as well (terms). Stored documents keep what they got.",
  },
  "model.provider": {
    schema: z.enum(["cpu", "cuda"]).default("cpu"),
    env: "CSPLADE_PROVIDER",
    help: "ONNX Runtime execution provider.",
  },
  "model.device": {
    schema: count(0, 255, 0),
    env: "CSPLADE_DEVICE",
    help: "Number of the card with model.provider cuda, of those that the process sees.",
  },
  "model.cpu_fallback": {
    schema: z.enum(["refuse", "allow", "never"]).default("refuse"),
    env: "CSPLADE_CPU_FALLBACK",
    help: "A graph that is not for model.provider: refuse it, allow it (parts run on the CPU, slowly); never: not even computations of shapes may run on the CPU.",
  },
  "model.threads": {
    schema: count(0, 512, 0),
    env: "CSPLADE_THREADS",
    help: "Threads of one ONNX session; 0 shares the cores among the sessions.",
  },
  "model.sessions": {
    schema: count(1, 64, 1),
    env: "CSPLADE_SESSIONS",
    help: "ONNX sessions in one process, each on its own thread.",
  },
  "model.token_budget": {
    schema: count(0, 1_048_576, 0),
    env: "CSPLADE_TOKEN_BUDGET",
    help: "Most tokens (padding included) in one batch; 0: 512 on the CPU, 8192 on CUDA.",
  },
  "model.run_timeout_ms": {
    schema: count(100, 86_400_000, 300_000),
    env: "CSPLADE_RUN_TIMEOUT_MS",
    help: "How long an encoder thread may work on one batch before it is taken for hanging, milliseconds.",
  },
  "model.load_timeout_ms": {
    schema: count(1_000, 86_400_000, 3_600_000),
    env: "CSPLADE_LOAD_TIMEOUT_MS",
    help: "How long an encoder thread may load its model before it is given up, milliseconds.",
  },
  "ingest.id_field": {
    schema: z.string().min(1).default("_id"),
    env: "CSPLADE_ID_FIELD",
    help: "Field that holds a document's id; a document without it gets the hash of its content.",
  },
  "ingest.text_fields": {
    schema: names(["title", "text"]),
    env: "CSPLADE_TEXT_FIELDS",
    help: "Fields that are encoded, joined in this order (comma-separated).",
  },
  "ingest.html_fields": {
    schema: names([]),
    env: "CSPLADE_HTML_FIELDS",
    help: "Text fields that hold HTML (comma-separated): its text is encoded, never its markup, scripts and styles.",
  },
  "ingest.title_field": {
    schema: z.string().min(1).default("title"),
    env: "CSPLADE_TITLE_FIELD",
    help: "Field shown as the title of a hit.",
  },
  "ingest.passages": {
    schema: z.enum(["merged", "nested", "documents"]).default("merged"),
    env: "CSPLADE_PASSAGES",
    help: "Long documents: one vector with per-term maxima, nested passages, or a document per passage.",
  },
  "ingest.max_passages": {
    schema: count(1, 10_000, 200),
    env: "CSPLADE_MAX_PASSAGES",
    help: "Most passages of one document; the rest is left out and counted as truncated.",
  },
  "ingest.min_quality": {
    schema: numeric(z.number().min(0).max(1)).default(0),
    env: "CSPLADE_MIN_QUALITY",
    help: "Documents of lower quality (0 to 1; see docs/pruning.md) are indexed for BM25 only; 0 encodes all.",
  },
  "ingest.max_document_bytes": {
    schema: count(1024, 104_857_600, 16_777_216),
    env: "CSPLADE_MAX_DOCUMENT_BYTES",
    help: "Largest document accepted, bytes of its line.",
  },
  "ingest.job_documents": {
    schema: count(1, 10_000, 256),
    env: "CSPLADE_JOB_DOCUMENTS",
    help: "Most documents in one job.",
  },
  "ingest.job_bytes": {
    schema: count(1024, 104_857_600, 4_194_304),
    env: "CSPLADE_JOB_BYTES",
    help: "Most bytes of documents in one job (a single larger document is a job of its own).",
  },
  "ingest.concurrency": {
    schema: count(1, 64, 3),
    env: "CSPLADE_CONCURRENCY",
    help: "Jobs in flight per worker process, so that encoding, reading and writing overlap.",
  },
  "reindex.slice_documents": {
    schema: count(100, 10_000_000, 25_000),
    env: "CSPLADE_SLICE_DOCUMENTS",
    help: "Documents in one slice of a reindexing: one job, one checkpointed piece of work.",
  },
  "reindex.concurrency": {
    schema: count(1, 64, 2),
    env: "CSPLADE_REINDEX_CONCURRENCY",
    help: "Slices in flight per worker process, so that encoding, reading and writing overlap.",
  },
  "reindex.max_dead_letters": {
    schema: numeric(z.number().min(0).max(1)).default(0.01),
    env: "CSPLADE_MAX_DEAD_LETTERS",
    help: "Share of a source's documents that may be dead letters; above it the alias stays where it is.",
  },
  "log.level": {
    schema: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).default("info"),
    env: "CSPLADE_LOG_LEVEL",
    help: "How much workers log: trace, debug, info, warn, error, silent.",
  },
  "metrics.host": {
    schema: z.string().min(1).default("127.0.0.1"),
    env: "CSPLADE_METRICS_HOST",
    help: "Address that workers, csplade reindex and csplade exporter serve their metrics on.",
  },
  "metrics.port": {
    schema: numeric(z.number().int().min(0).max(65_535)).optional(),
    env: "CSPLADE_METRICS_PORT",
    help: "Port of the metrics; 0 takes a free one; nothing is served without it (the exporter: 9464).",
  },
  "document.prune_type": {
    schema: pruneType.default("none"),
    env: "CSPLADE_DOCUMENT_PRUNE_TYPE",
    help: "How document vectors are pruned: none, top_k, max_ratio, alpha_mass, abs_value.",
  },
  "document.prune_ratio": {
    schema: numeric(z.number().min(0).max(100_000)).default(0),
    env: "CSPLADE_DOCUMENT_PRUNE_RATIO",
    help: "Parameter of document.prune_type.",
  },
  "document.quantize_bits": {
    schema: count(4, 24, 9),
    env: "CSPLADE_DOCUMENT_QUANTIZE_BITS",
    help: "Significant bits kept of a document weight; Lucene stores 9.",
  },
  "document.expansion": {
    schema: factor(1),
    env: "CSPLADE_DOCUMENT_EXPANSION",
    help: "Factor of the terms that the model adds to documents, 0 to 1: none (0) stores only what stands in a text, all (1) is the whole vector; an index keeps one.",
  },
  "document.dense": {
    schema: flag(false),
    env: "CSPLADE_DOCUMENT_DENSE",
    help: "Documents have the checkpoint's dense vector too, where it gives one (csplade-minilm-words): a third ranking for mode hybrid; an index has it or not.",
  },
  "document.store_vectors": {
    schema: flag(true),
    env: "CSPLADE_STORE_VECTORS",
    help: "Whether new indices hold vectors in _source; without, they are half as large and refuse updates (docs/indices.md).",
  },
  "query.prune_type": {
    schema: pruneType.default("none"),
    env: "CSPLADE_QUERY_PRUNE_TYPE",
    help: "How query vectors are pruned: none, top_k, max_ratio, alpha_mass, abs_value.",
  },
  "query.prune_ratio": {
    schema: numeric(z.number().min(0).max(100_000)).default(0),
    env: "CSPLADE_QUERY_PRUNE_RATIO",
    help: "Parameter of query.prune_type.",
  },
  "query.expansion": {
    schema: factor(1),
    env: "CSPLADE_QUERY_EXPANSION",
    help: "Factor of the terms that the model adds to a question: 0 searches its exact words, 1 all of them; a search may say its own.",
  },
  "query.history_decay": {
    schema: factor(0.5),
    env: "CSPLADE_QUERY_HISTORY_DECAY",
    help: "What each step back in a conversation multiplies the weights of a turn by: 0 forgets it, 1 keeps all; a search may say its own.",
  },
  "query.encoder": {
    schema: z.enum(["model", "table"]).default("model"),
    env: "CSPLADE_QUERY_ENCODER",
    help: "How queries are encoded: model, or table (the checkpoint's query_weights.json, without inference); one whose questions have a table alone uses it in either case.",
  },
  "query.idf": {
    schema: z.enum(["corpus", "model"]).default("corpus"),
    env: "CSPLADE_QUERY_IDF",
    help: "How common a question's words are: in the index that is searched (corpus), or in the texts the model was made from (model); only for checkpoints with a lexicon.",
  },
  "query.idf_timeout_ms": {
    schema: count(10, 600_000, 1_000),
    env: "CSPLADE_QUERY_IDF_TIMEOUT_MS",
    help: "How long a question waits to hear how common its words are in the index, milliseconds; after it they weigh as the model has them.",
  },
  "rerank.model": {
    schema: z.string().min(1).optional(),
    env: "CSPLADE_RERANK_MODEL",
    help: "Directory of a cross-encoder that puts a search's first hits into a better order.",
  },
  "rerank.remote": {
    schema: z
      .url({ protocol: /^https?$/, error: "must be a URL such as https://reranker:8080/rerank" })
      .optional(),
    env: "CSPLADE_RERANK_REMOTE",
    help: "A server that does so instead: text-embeddings-inference, or with rerank.remote_model one of Cohere's shape.",
  },
  "rerank.remote_key": {
    schema: z.string().min(1).optional(),
    env: "CSPLADE_RERANK_REMOTE_KEY",
    help: "Key for rerank.remote (Authorization: Bearer KEY).",
    secret: true,
  },
  "rerank.remote_model": {
    schema: z.string().min(1).max(200).optional(),
    env: "CSPLADE_RERANK_REMOTE_MODEL",
    help: "Name of the model at rerank.remote; with it requests have Cohere's shape.",
  },
  "rerank.max_tokens": {
    schema: count(16, 65_536, 512),
    env: "CSPLADE_RERANK_MAX_TOKENS",
    help: "Tokens of a question and a text together that rerank.model reads; the end of a longer text is left out.",
  },
  "rerank.timeout_ms": {
    schema: count(10, 600_000, 3_000),
    env: "CSPLADE_RERANK_TIMEOUT_MS",
    help: "How long reranking may take; after that the answer has the order of the search, and says so.",
  },
  "write.max_bytes": {
    schema: count(10_000, 104_857_600, 5_242_880),
    env: "CSPLADE_WRITE_MAX_BYTES",
    help: "Most bytes of one bulk request.",
  },
  "write.concurrency": {
    schema: count(1, 64, 2),
    env: "CSPLADE_WRITE_CONCURRENCY",
    help: "Bulk requests in flight per writer.",
  },
  "write.max_wait_ms": {
    schema: count(0, 86_400_000, 600_000),
    env: "CSPLADE_WRITE_MAX_WAIT_MS",
    help: "How long a write waits for a cluster that is away or busy before it fails.",
  },
  ...sourceSettings,
  ...gatewaySettings,
} as const satisfies Record<string, Setting>;

/** Name of a setting. */
export type SettingName = keyof typeof settings;

/** Validated values, by name. */
export type Config = {
  readonly [K in SettingName]: z.infer<(typeof settings)[K]["schema"]>;
};
