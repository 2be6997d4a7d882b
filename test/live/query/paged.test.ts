/** Pages by `search_after` of the library: two searchers share nothing, as in two processes. */
import assert from "node:assert/strict";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import type { NamedHit } from "../../../src/searcher/named-hit.js";
import { openSearcher, type Searcher } from "../../../src/searcher/searcher.js";
import { fillEncodedIndex, fillWithSentences } from "../../support/encoded-index.js";
import { ZEBRA_QUESTION } from "../../support/idf-by-hand.js";
import { testCluster } from "../../support/test-index.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

/** Here "zebra" is common and "sea" is rare; after the later ones it is the other way round. */
const TEXTS = Array.from({ length: 40 }, (_, i) => {
  const zebras = Array<string>(1 + (i % 7)).fill("zebra");
  return [...zebras, ...(i % 3 === 0 ? ["sea"] : []), `number ${i}`].join(" ");
});
const LATER = Array.from({ length: 400 }, (_, i) => `sea and sea ${i}`);

describe("pages of the library's searches by several processes", function () {
  this.timeout(120_000);
  let cluster: Cluster;
  let encoder: Encoder;
  const made: string[] = [];

  before(async () => {
    cluster = testCluster();
    encoder = await openEncoder(testConfig({ "model.path": tinyCheckpoint("lexical") }));
  });
  after(async () => {
    for (const name of made) await cluster.send({ method: "DELETE", path: `/${name}` });
    await encoder.close();
    await cluster.close();
  });

  const searcher = () => openSearcher({ cluster, encoder, idf_timeout_ms: 60_000 });

  for (const mode of ["plain", "two_phase"] as const) {
    for (const sort of [
      [{ _score: "desc" }, { year: "asc" }],
      ["_score", "year"],
    ]) {
      it(`mode ${mode}: are one large page whatever is written in between (sort ${JSON.stringify(sort)})`, async () => {
        const index = await fillEncodedIndex(cluster, encoder, "merged", undefined, TEXTS);
        made.push(index);
        const page = async (by: Searcher, size: number, after?: NamedHit) => {
          const body = { sort, ...(after === undefined ? {} : { search_after: after.sort }) };
          return (await by.search(index, ZEBRA_QUESTION, { mode, size, body })).hits;
        };
        const whole = await page(searcher(), 100);
        // Two phases find what has the question's heavy term.
        assert.ok(whole.length === TEXTS.length || (mode === "two_phase" && whole.length >= 10));
        const seen: NamedHit[] = [];
        for (;;) {
          const hits = await page(searcher(), 7, seen.at(-1) ?? whole[0]!);
          seen.push(...hits);
          if (hits.length < 7) break;
          if (seen.length === 7) {
            await fillWithSentences(cluster, encoder, "merged", index, [...TEXTS, ...LATER]);
          }
        }
        const old = seen.filter(({ id }) => Number(id) < TEXTS.length);
        assert.deepEqual(
          old.map(({ id, score }) => [id, score]),
          whole.slice(1).map(({ id, score }) => [id, score]),
        );
        assert.equal(new Set(seen.map(({ id }) => id)).size, seen.length);
      });
    }
  }

  it("leave other sorts, and values that the caller made, as they are", async () => {
    const index = await fillEncodedIndex(cluster, encoder, "merged", undefined, TEXTS);
    made.push(index);
    const values = async (body: object) => {
      const { hits } = await searcher().search(index, ZEBRA_QUESTION, {
        size: 1,
        body: { ...body },
      });
      return hits[0]?.sort?.length;
    };
    const sort = [{ _score: "desc" }, { year: "asc" }];
    assert.equal(await values({ sort }), 3);
    assert.equal(await values({ sort, search_after: [9, 1990] }), 2);
    assert.equal(await values({ sort: ["year"] }), 1);
    assert.equal(await values({ sort: "_score" }), undefined);
  });
});
