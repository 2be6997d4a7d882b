import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import path from "node:path";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { packageRoot } from "../../../src/config/package-root.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import {
  openSearcher,
  type QuestionOptions,
  type Searcher,
} from "../../../src/searcher/searcher.js";
import { testCluster } from "../../support/test-index.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const QUESTION = "a person who studies stars";

const DOCUMENTS = [
  ["astronomer", "An astronomer watched galaxies at an observatory.", 1],
  ["own words", "Every person who wants to be one studies.", 2],
  ["none", "Bread is baked from flour.", 3],
  ["telescope", "The telescope shows planets to astronomers.", 4],
] as const;

describe("a question to an index that was never encoded (mode lexical)", function () {
  this.timeout(120_000);
  const index = `somebodys-${randomBytes(6).toString("hex")}`;
  let cluster: Cluster;
  let encoder: Encoder;
  let searcher: Searcher;

  before(async () => {
    cluster = testCluster();
    const words = path.join(packageRoot, "models", "csplade-minilm-words");
    encoder = await openEncoder(testConfig({ "model.path": words }));
    searcher = openSearcher({ cluster, encoder });
    const put = (route: string, body: object) =>
      cluster.demand({ method: "PUT", path: `/${index}${route}`, body }, "Filling");
    const text = { type: "text", analyzer: "english" };
    await put("", {
      mappings: { properties: { meta: { properties: { note: text } }, body: text } },
    });
    for (const [id, body, n] of DOCUMENTS) {
      await put(`/_doc/${encodeURIComponent(id)}`, { body, n, meta: { note: `note ${n}` } });
    }
    await cluster.demand({ method: "POST", path: `/${index}/_refresh` }, "Refreshing");
  });
  after(async () => {
    await cluster.send({ method: "DELETE", path: `/${index}` });
    await encoder.close();
    await cluster.close();
  });

  const ask = (options: QuestionOptions = {}) =>
    searcher.search(index, QUESTION, { ...options, mode: "lexical" });
  const idsOf = ({ hits }: Awaited<ReturnType<typeof ask>>) => hits.map(({ id }) => id);

  it("finds what has none of its words, names the words that it added, and changes nothing", async () => {
    const mapping = () => cluster.demand({ method: "GET", path: `/${index}` }, "Looking");
    const before = await mapping();
    const answer = await ask();
    assert.deepEqual(new Set(idsOf(answer)), new Set(["own words", "astronomer", "telescope"]));
    const astronomer = answer.hits.find(({ id }) => id === "astronomer");
    // The model names a stem by its first form; the field's analyzer knows the others.
    assert.ok(astronomer?.added_words?.some((word) => word.startsWith("astronom")));
    assert.deepEqual(answer.text_fields, ["body", "meta.note"]);
    assert.deepEqual([answer.notes, answer.dropped_terms], [[], 0]);
    assert.deepEqual(await mapping(), before);
  });

  it("scores as BM25 does where nothing is added", async () => {
    const lexical = { expansion: 0, text_fields: ["body"] };
    const query = { match: { body: QUESTION } };
    const { body } = await cluster.send({
      method: "POST",
      path: `/${index}/_search`,
      body: { query },
    });
    const { hits } = (body as { hits: { hits: { _id: string; _score: number }[] } }).hits;
    const answer = await ask({ lexical });
    assert.deepEqual(
      answer.hits.map(({ id, score }) => [id, score]),
      hits.map(({ _id, _score }) => [_id, _score]),
    );
    assert.deepEqual(idsOf(answer), ["own words"]);
  });

  it("is filtered, sorted, paged and counted as any search", async () => {
    const body = { sort: [{ n: "desc" }], aggs: { most: { max: { field: "n" } } } };
    const filter = { range: { n: { lt: 4 } } };
    const all = await ask({ filter, body });
    assert.deepEqual(idsOf(all), ["own words", "astronomer"]);
    assert.deepEqual(all.aggregations, { most: { value: 2 } });
    assert.deepEqual(idsOf(await ask({ filter, body, from: 1 })), ["astronomer"]);
    const after = { ...body, search_after: [2] };
    assert.deepEqual(idsOf(await ask({ filter, body: after })), ["astronomer"]);
  });

  it("weighs what it adds by expansion, and refuses a factor that is none", async () => {
    const score = async (expansion: number) => {
      const { hits } = await ask({ lexical: { expansion, text_fields: ["body"] } });
      return hits.find(({ id }) => id === "telescope")?.score ?? 0;
    };
    const [half, whole] = [await score(0.5), await score(1)];
    assert.ok(Math.abs(whole / half - 2) < 1e-5, `${whole} ${half}`);
    for (const expansion of [-1, NaN, 11]) {
      await assert.rejects(
        ask({ lexical: { expansion } }),
        (thrown) => thrown instanceof CspladeError && thrown.code === "query_invalid",
      );
    }
  });

  it("says which fields there are where it cannot choose, and what is not there", async () => {
    const many = `${index}-many`;
    const properties = Object.fromEntries(
      Array.from({ length: 9 }, (_, i) => [`field${i}`, { type: "text" }]),
    );
    await cluster.demand(
      { method: "PUT", path: `/${many}`, body: { mappings: { properties } } },
      "Making",
    );
    const refused = async (name: string, code: string, said: RegExp) =>
      assert.rejects(
        searcher.search(name, QUESTION, { mode: "lexical" }),
        (thrown) =>
          thrown instanceof CspladeError && thrown.code === code && said.test(thrown.message),
      );
    try {
      await refused(many, "index_invalid", /9 text fields \(field0, field1/);
      const text_fields = ["field0"];
      const answer = await searcher.search(many, QUESTION, {
        mode: "lexical",
        lexical: { text_fields },
      });
      assert.deepEqual(answer.hits, []);
    } finally {
      await cluster.send({ method: "DELETE", path: `/${many}` });
    }
    await refused(`${index}-nothing`, "index_not_found", /no index/);
  });
});
