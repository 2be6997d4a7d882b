import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { ensureIndex } from "../../../src/index/csplade-index.js";
import { openSearcher, type Searcher } from "../../../src/searcher/searcher.js";
import { runCsplade } from "../../support/csplade-command.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { testCluster, testIndexRequest } from "../../support/test-index.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const QUESTION = "fear of closed spaces";

describe("a question to several indices, of which some have no vectors or another model's", () => {
  let cluster: Cluster;
  let encoder: Encoder;
  let searcher: Searcher;
  let index: string;
  let made: string[];

  before(async function () {
    this.timeout(120_000);
    cluster = testCluster();
    encoder = await openEncoder(testConfig());
    searcher = openSearcher({ cluster, encoder });
    index = await fillEncodedIndex(cluster, encoder);
    const [plain, foreign] = [`${index}-plain`, `${index}-foreign`];
    made = [index, plain, foreign];
    const request = { ...testIndexRequest(), name: foreign };
    await ensureIndex(cluster, request);
    const send = (route: string, body: object) =>
      cluster.demand(
        { method: "PUT", path: `/${route}`, query: { refresh: true }, body },
        "Filling",
      );
    await send(`${plain}/_doc/plain`, { text: QUESTION });
    await send(`${foreign}/_doc/foreign`, {
      text: QUESTION,
      csplade: { 1: 3, 2: 3 },
      csplade_model: request.model.fingerprint,
    });
    await cluster.demand(
      {
        method: "POST",
        path: "/_aliases",
        body: { actions: [{ add: { indices: made, alias: `${index}-alias` } }] },
      },
      "Making an alias",
    );
  });
  after(async () => {
    for (const name of made) await cluster.send({ method: "DELETE", path: `/${name}` });
    await encoder.close();
    await cluster.close();
  });

  for (const mode of ["plain", "two_phase", "hybrid"] as const) {
    it(`finds in mode ${mode} what is found in the one that can be asked`, async () => {
      const found = async (name: string) =>
        (await searcher.search(name, QUESTION, { mode, size: 20, explain: true })).hits.map(
          ({ id, score }) => [id, score],
        );
      const alone = await found(index);
      assert.ok(alone.length > 5);
      for (const name of [`${index}*`, made.join(","), `${index}-alias`]) {
        assert.deepEqual(await found(name), alone, name);
      }
    });
  }

  it("gives a clause that finds the same, beside a filter of the caller's", async () => {
    const filter = { term: { kind: "even" } };
    const ids = async (name: string) => {
      const { query } = await searcher.query(name, QUESTION, { filter });
      const answer = (await cluster.demand(
        { method: "POST", path: `/${name}/_search`, body: { size: 20, query } },
        "Searching",
      )) as { hits: { hits: { _id: string }[] }; _shards: { failed: number } };
      assert.equal(answer._shards.failed, 0);
      return answer.hits.hits.map(({ _id }) => _id);
    };
    assert.deepEqual(await ids(`${index}*`), await ids(index));
  });

  it("is taken by the command line as well", async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "csplade-mixed-"));
    try {
      const search = async (name: string) => {
        const { code, out, err } = await runCsplade(folder, [
          "search",
          "--index",
          name,
          "--json",
          QUESTION,
        ]);
        assert.equal(code, 0, err);
        return (JSON.parse(out) as { hits: { id: string }[] }).hits.map(({ id }) => id);
      };
      assert.deepEqual(await search(`${index}*`), await search(index));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("is refused with a sentence where none can be asked", async () => {
    for (const [name, code] of [
      [`${index}-plain`, "index_invalid"],
      [`${index}-foreign`, "model_mismatch"],
      [`${index}-foreign,${index}-plain`, "model_mismatch"],
      ["no-such-index", "index_not_found"],
      ["no-such-index-*", "index_not_found"],
    ] as const) {
      await assert.rejects(
        searcher.search(name, QUESTION),
        (error) => error instanceof CspladeError && error.code === code,
        name,
      );
    }
  });
});
