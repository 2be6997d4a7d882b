/** A gateway of a test's own, with the tiny model, on a free port. */
import type { SettingName } from "../../src/config/settings.js";
import { openEncoder, type Encoder } from "../../src/encoder/encoder.js";
import { startGateway, type Gateway } from "../../src/gateway/gateway.js";
import { openReranker } from "../../src/rerank/open-reranker.js";
import { testConfig } from "./tiny-checkpoints.js";

/** A listening gateway with its encoder. */
export interface TestGateway extends Gateway {
  readonly encoder: Encoder;
  /** Sends JSON, or text as it is, to one of the gateway's routes. */
  post(path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>;
  /** Closes the gateway and its encoder. */
  stop(): Promise<void>;
}

/** Starts a gateway. */
export async function startTestGateway(
  flags: Partial<Record<SettingName, unknown>> = {},
): Promise<TestGateway> {
  const config = testConfig({
    "gateway.port": 0,
    // Nothing listens there: a test that needs a cluster names one.
    "opensearch.url": "http://127.0.0.1:1",
    ...flags,
  });
  const encoder = await openEncoder(config);
  const reranker = await openReranker(config);
  const gateway = await startGateway({ config, encoder, reranker });
  return {
    ...gateway,
    encoder,
    post: (path, body, headers = {}) =>
      fetch(gateway.url + path, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    async stop() {
      await gateway.close(1_000);
      await reranker?.close();
      await encoder.close();
    },
  };
}
