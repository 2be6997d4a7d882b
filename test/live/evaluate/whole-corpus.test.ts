/** No figure of an index that lacks documents of the corpus. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { demandWholeCorpus } from "../../../src/evaluate/whole-corpus.js";
import { runCsplade } from "../../support/csplade-command.js";
import { testServers } from "../../support/servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const corpus = [
  { _id: "d1", title: "Claustrophobia", text: "a morbid fear of being in a confined space" },
  { _id: "d2", title: "Insomnia", text: "an inability to sleep at night" },
  { _id: "blank", title: "", text: " " },
];

describe("a figure of csplade eval", function () {
  this.timeout(120_000);
  let folder: string;
  let cluster: Cluster;

  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-whole-"));
    mkdirSync(path.join(folder, "qrels"));
    writeFileSync(path.join(folder, "queries.jsonl"), '{"_id":"q1","text":"fear"}\n');
    writeFileSync(path.join(folder, "qrels", "test.tsv"), "q1\td1\t1\n");
    cluster = connectCluster(testConfig({ "opensearch.url": testServers().opensearchUrl }));
  });

  after(async () => {
    rmSync(folder, { recursive: true });
    await cluster.close();
  });

  const evaluate = (documents: readonly object[], index: string, env: NodeJS.ProcessEnv) => {
    const lines = documents.map((each) => `${JSON.stringify(each)}\n`).join("");
    writeFileSync(path.join(folder, "corpus.jsonl"), lines);
    const args = ["eval", "--data", folder, "--json", "--quiet", "--index", index, "--keep"];
    return runCsplade(folder, args, env);
  };

  it("is not printed while a document that has text is missing; which and why is", async () => {
    const taken = { _id: "taken", text: "some words", csplade: { "1": 2 } };
    const { code, out, err } = await evaluate([...corpus, taken], "eval-refused", {});
    assert.equal(code, 1, err);
    assert.doesNotMatch(out, /ndcg/);
    assert.match(out, /1 documents of the corpus could not be indexed .*taken/);
    await cluster.send({ method: "DELETE", path: "/eval-refused" });
  });

  for (const mode of ["merged", "documents"]) {
    it(`is not given of an index from which a document vanished, passages ${mode}`, async () => {
      const name = `eval-vanished-${mode}`;
      const { code, out, err } = await evaluate(corpus, name, { CSPLADE_PASSAGES: mode });
      assert.equal(code, 0, err);
      assert.match(out, /ndcg/);
      const example = { reason: "blank", file: "corpus.jsonl", line: 3 };
      const failures = [{ code: "document_no_text" as const, count: 1, example }];
      const counts = { read: corpus.length, failures };
      await demandWholeCorpus(cluster, name, counts);
      await cluster.send({
        method: "POST",
        path: `/${name}/_delete_by_query`,
        query: { refresh: "true" },
        body: { query: { match: { title: "insomnia" } } },
      });
      await assert.rejects(demandWholeCorpus(cluster, name, counts), {
        code: "index_invalid",
        message: /1 documents of the corpus are not in it/,
      });
      await cluster.send({ method: "DELETE", path: `/${name}` });
    });
  }
});
