/** Which reranker a configuration names. */
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { openCrossEncoder } from "./cross-encoder.js";
import { openRemoteReranker } from "./remote-reranker.js";
import type { Reranker } from "./reranker.js";

/** Whether a reranker is configured. */
export function hasReranker(config: Config): boolean {
  return config["rerank.remote"] !== undefined || config["rerank.model"] !== undefined;
}

/**
 * Opens the configured reranker; nothing is loaded or connected without one.
 * @throws CspladeError `config_invalid` for two of them; `model_not_found`, `model_invalid`, `provider_unavailable`.
 */
export async function openReranker(config: Config): Promise<Reranker | undefined> {
  const { "rerank.remote": remote, "rerank.model": directory } = config;
  if (remote !== undefined && directory !== undefined) {
    throw new CspladeError("config_invalid", "Both rerank.model and rerank.remote are set.", {
      hint: "One of them can rerank: leave the other out.",
    });
  }
  if (remote !== undefined) return openRemoteReranker(config, remote);
  return directory === undefined ? undefined : await openCrossEncoder(config, directory);
}

/** @throws CspladeError `usage`: somebody asked for reranking and nothing is there that does it. */
export function demandReranker(reranker: Reranker | undefined): Reranker {
  if (reranker !== undefined) return reranker;
  throw new CspladeError("usage", "Reranking was asked for, and no reranker is configured.", {
    hint: "Name a cross-encoder's directory with rerank.model (CSPLADE_RERANK_MODEL), or a server with rerank.remote.",
  });
}
