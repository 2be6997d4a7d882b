/** `csplade serve`: the gateway, until it is stopped. */
import { once } from "node:events";
import { type Command, InvalidArgumentError } from "commander";
import { startGateway } from "../gateway/gateway.js";
import { answerWhileLoading } from "../gateway/loading.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { openQueryEncoder } from "../encoder/query-encoder.js";
import { openReranker } from "../rerank/open-reranker.js";
import type { Reranker } from "../rerank/reranker.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printNote } from "./outcome.js";
import { demandUnbroken, openShownEncoder, untilBroken } from "./working-encoder.js";

interface ServeFlags {
  readonly host?: string;
  readonly port?: number;
  readonly json?: true;
}

/** Builds the command. */
export function serveCommand(): Command {
  return configuredCommand("serve", ["opensearch.url", "model.path"])
    .description("Serve the model over HTTP, and searches by meaning in front of the cluster.")
    .option("--host <address>", "address to listen on (CSPLADE_GATEWAY_HOST)")
    .option("--port <n>", "port to listen on, 0 for a free one (CSPLADE_GATEWAY_PORT)", parsePort)
    .option("--json", "print the address as one JSON object once it is ready")
    .addHelpText(
      "after",
      `
POST /encode, /embed_sparse, /v1/opensearch/sparse and /v1/elastic/sparse encode texts;
GET /openapi.json describes them. Everything else is forwarded to the cluster with the caller's
own credentials; in searches {"csplade":"text"} stands wherever a query may. SIGTERM lets open
requests end, then stops.

Examples:
  csplade serve
  curl -s localhost:9260/encode -d '{"text":"fear of closed spaces","format":"terms"}'
  curl -s localhost:9260/wordnet/_search -H 'content-type: application/json' \\
    -d '{"query":{"csplade":"fear of closed spaces"}}'`,
    )
    .action(async (flags: ServeFlags, command: Command) => {
      const { values } = configOf(command.opts(), {
        "gateway.host": flags.host,
        "gateway.port": flags.port,
      });
      await untilInterrupted((signal) => serve(values, flags, signal));
    });
}

async function serve(config: Config, flags: ServeFlags, signal: AbortSignal): Promise<void> {
  const loading = await answerWhileLoading(config);
  let encoder: Encoder;
  try {
    encoder =
      config["query.encoder"] === "table"
        ? await openQueryEncoder(config)
        : await openShownEncoder(config, { onTrouble: printNote });
  } finally {
    await loading.close();
  }
  let reranker: Reranker | undefined;
  try {
    reranker = await openReranker(config);
    const gateway = await startGateway({ config, encoder, reranker });
    const { name: model, fingerprint } = encoder.manifest;
    if (flags.json) printJson({ url: gateway.url, model, fingerprint });
    else printNote(`Serving ${model} at ${gateway.url}; stop with Ctrl-C or SIGTERM.`);
    const over = untilBroken(encoder, signal);
    if (!over.aborted) await once(over, "abort");
    printNote("Draining: open requests are being finished.");
    await gateway.close(config["gateway.drain_ms"]);
    demandUnbroken(encoder);
  } finally {
    await reranker?.close();
    await encoder.close();
  }
}

function parsePort(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new InvalidArgumentError("It is a whole number from 0 to 65535.");
}
