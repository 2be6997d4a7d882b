/** The encoder of commands that only ask: with `query.encoder: table` no model is loaded. */
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { openCheckpoint } from "./checkpoint-directory.js";
import { openEncoder, type Encoder } from "./encoder.js";
import { openQueryTable } from "./query-table.js";

/**
 * Opens what encodes queries. With `query.encoder: table` that is a tokenizer, and a table or a
 * lexicon or both: no session, no thread; encoding a document is then refused.
 * @throws CspladeError as {@link openEncoder}; `model_invalid` if the checkpoint has neither.
 */
export async function openQueryEncoder(config: Config): Promise<Encoder> {
  if (config["query.encoder"] === "model") return await openEncoder(config);
  const checkpoint = await openCheckpoint(config["model.path"]);
  const { manifest } = checkpoint;
  const table = openQueryTable(checkpoint);
  const totals = { texts: 0, batches: 0, tokens: 0, padded_tokens: 0, busy_ms: 0 };
  return {
    checkpoint,
    manifest,
    encodeDocuments: () =>
      Promise.reject(
        new CspladeError("encode_failed", "A table of query weights cannot encode documents."),
      ),
    encodeQueries(texts) {
      const started = performance.now();
      const encoded = table.encode(texts);
      totals.texts += texts.length;
      for (const { passages } of encoded) totals.tokens += passages[0]?.tokens ?? 0;
      totals.busy_ms += performance.now() - started;
      return Promise.resolve(encoded);
    },
    lexicon: table.lexicon,
    literals(texts, options = {}) {
      const limits = {
        max_tokens: manifest.max_tokens.document,
        max_passages: options.max_passages ?? config["ingest.max_passages"],
      };
      return Promise.resolve(texts.map((text) => table.literals(text, limits)));
    },
    totals: () => ({ ...totals }),
    health: () => ({ state: "ready", threads: [], restarts: 0 }),
    broken: new AbortController().signal,
    close: () => Promise.resolve(),
  };
}
