/**
 * Encoders without a session: of commands that only ask, with `query.encoder: table`, and of
 * coordinators, which leave the encoding to workers. The graph need not even be there.
 */
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { openCheckpoint, readManifest, type CheckpointDirectory } from "./checkpoint-directory.js";
import { openEncoder, type Encoder } from "./encoder.js";
import { toldLanguages } from "./told-languages.js";
import {
  asksByTable,
  literalsByTable,
  openQueryTable,
  openTables,
  type TableEncoder,
} from "./query-table.js";

/**
 * Opens what encodes queries. With `query.encoder: table`, and for a checkpoint whose questions have a
 * table alone, that is a tokenizer, and a table or a
 * lexicon or both: no session, no thread; encoding a document is then refused.
 * @throws CspladeError as {@link openEncoder}; `model_invalid` if the checkpoint has neither.
 */
export async function openQueryEncoder(config: Config): Promise<Encoder> {
  if (!asksByTable(readManifest(config["model.path"]), config)) return await openEncoder(config);
  const checkpoint = await openCheckpoint(config["model.path"], { graph: false });
  return withoutSession(
    config,
    checkpoint,
    await openQueryTable(checkpoint, toldLanguages(checkpoint.manifest, config)),
  );
}

/**
 * Opens what a coordinator needs of a checkpoint: manifest, tokenizer and, where it has them, lexicon
 * and table. Documents are encoded by workers; it encodes queries only where no model is needed.
 * @throws CspladeError `model_not_found`, `model_invalid`.
 */
export async function openCoordinatorEncoder(config: Config): Promise<Encoder> {
  const checkpoint = await openCheckpoint(config["model.path"], { graph: false });
  const tables = await openTables(checkpoint, toldLanguages(checkpoint.manifest, config));
  const asks = asksByTable(checkpoint.manifest, config) && tables.hasWeights;
  return withoutSession(config, checkpoint, tables, asks);
}

function withoutSession(
  config: Config,
  checkpoint: CheckpointDirectory,
  table: TableEncoder,
  queries = true,
): Encoder {
  const { manifest } = checkpoint;
  const totals = { texts: 0, batches: 0, tokens: 0, padded_tokens: 0, busy_ms: 0 };
  return {
    checkpoint,
    manifest,
    encodes: { documents: false, queries, dense: false },
    encodeDocuments: () => Promise.reject(unsupported("documents")),
    encodeQueries(texts) {
      if (!queries) return Promise.reject(unsupported("queries"));
      const started = performance.now();
      const encoded = table.encode(texts);
      totals.texts += texts.length;
      for (const { passages } of encoded) totals.tokens += passages[0]?.tokens ?? 0;
      totals.busy_ms += performance.now() - started;
      return Promise.resolve(encoded);
    },
    lexicon: table.lexicon,
    async literals(texts, options = {}) {
      const limits = {
        max_tokens: manifest.max_tokens.document,
        max_passages: options.max_passages ?? config["ingest.max_passages"],
      };
      return await literalsByTable(table, texts, limits, options.signal);
    },
    totals: () => ({ ...totals }),
    health: () => ({ state: "ready", threads: [], restarts: 0 }),
    broken: new AbortController().signal,
    close: () => Promise.resolve(),
  };
}

function unsupported(what: "documents" | "queries"): CspladeError {
  return new CspladeError(
    "encode_unsupported",
    `This process loaded no model, so it cannot encode ${what}.`,
    {
      hint: "Set query.encoder to model where texts are to be encoded, or leave --no-workers out.",
    },
  );
}
