import assert from "node:assert/strict";
import { answerWhileLoading } from "../../../src/gateway/loading.js";
import { findFreePort } from "../../../src/servers/port.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

describe("a gateway whose model is being loaded", () => {
  it("is alive and not ready, tells everybody else to come back, and frees its port", async () => {
    const port = await findFreePort();
    const config = testConfig({ "gateway.port": port });
    const loading = await answerWhileLoading(config);
    const ask = async (path: string, method = "GET") => {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method });
      return [answer.status, answer.headers.get("retry-after")];
    };
    assert.deepEqual(await ask("/health"), [200, null]);
    assert.deepEqual(await ask("/ready"), [503, "1"]);
    assert.deepEqual(await ask("/docs/_search", "POST"), [503, "1"]);
    await assert.rejects(answerWhileLoading(config), { code: "server_port_taken" });
    await loading.close();
    await (await answerWhileLoading(config)).close();
  });
});
