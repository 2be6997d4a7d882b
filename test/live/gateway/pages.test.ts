import assert from "node:assert/strict";
import fc from "fast-check";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { fillEncodedIndex, fillWithSentences } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { ZEBRA_QUESTION } from "../../support/idf-by-hand.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";

interface Hit {
  readonly _id: string;
  readonly _score: number;
  readonly sort: readonly unknown[];
}

interface Answer {
  readonly error?: unknown;
  readonly hits: { readonly hits: readonly Hit[] };
}

/** Every document of the first writing matches; here "zebra" is common and "sea" is rare. */
const TEXTS = Array.from({ length: 40 }, (_, i) => {
  const zebras = Array<string>(1 + (i % 7)).fill("zebra");
  return [...zebras, ...(i % 3 === 0 ? ["sea"] : []), `number ${i}`].join(" ");
});
/** After these it is the other way round. */
const LATER = Array.from({ length: 400 }, (_, i) => `sea and sea ${i}`);

const QUERY = { csplade: ZEBRA_QUESTION };

describe("pages of a search through several gateways, with writes in between", () => {
  let cluster: Cluster;
  let gateways: readonly TestGateway[];
  const made: string[] = [];

  const start = () =>
    startTestGateway({
      "model.path": tinyCheckpoint("lexical"),
      "query.idf_timeout_ms": 60_000,
      "opensearch.url": testServers().opensearchUrl,
    });

  before(async function () {
    this.timeout(120_000);
    cluster = testCluster();
    gateways = [await start(), await start()];
  });
  after(async () => {
    for (const name of made) await cluster.send({ method: "DELETE", path: `/${name}` });
    for (const gateway of gateways) await gateway.stop();
    await cluster.close();
  });

  async function fresh(): Promise<string> {
    const name = await fillEncodedIndex(cluster, gateways[0]!.encoder, "merged", undefined, TEXTS);
    made.push(name);
    return name;
  }

  /** More documents behind the first ones, which are written again as they are. */
  async function writeMore(name: string, texts: readonly string[]): Promise<void> {
    await fillWithSentences(cluster, gateways[0]!.encoder, "merged", name, [...TEXTS, ...texts]);
  }

  async function ask(gateway: TestGateway, path: string, body: object): Promise<readonly Hit[]> {
    const answer = (await (await gateway.post(path, body)).json()) as Answer;
    assert.equal(answer.error, undefined, JSON.stringify(answer.error));
    return answer.hits.hits;
  }

  for (const sort of [
    [{ _score: "desc" }, { year: "asc" }],
    { _score: "desc", year: "asc" },
    ["_score", "year"],
  ]) {
    it(`are one large page, whichever gateway answers one (sort ${JSON.stringify(sort)})`, async function () {
      this.timeout(300_000);
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.nat(1), fc.integer({ min: 3, max: 12 })), { minLength: 2 }),
          fc.nat(2),
          async (turns, writtenAfter) => {
            const index = await fresh();
            const [first] = turns;
            const whole = await ask(gateways[first![0]]!, `/${index}/_search`, {
              query: QUERY,
              size: 100,
              sort,
            });
            assert.equal(whole.length, TEXTS.length);
            const seen: Hit[] = [];
            for (let page = 0; ; page++) {
              if (page === writtenAfter) await writeMore(index, LATER);
              const [which, size] = turns[page % turns.length]!;
              const hits = await ask(gateways[which]!, `/${index}/_search`, {
                query: QUERY,
                size,
                sort,
                ...(page === 0 ? { search_after: whole[0]!.sort } : {}),
                ...(seen.length === 0 ? {} : { search_after: seen.at(-1)!.sort }),
              });
              seen.push(...hits);
              if (hits.length < size) break;
            }
            // Documents of the second writing may stand in between; none of the first is lost.
            const old = seen.filter(({ _id }) => Number(_id) < TEXTS.length);
            assert.deepEqual(
              old.map(({ _id, _score }) => [_id, _score]),
              whole.slice(1).map(({ _id, _score }) => [_id, _score]),
            );
            assert.equal(new Set(seen.map(({ _id }) => _id)).size, seen.length);
          },
        ),
        { numRuns: 4 },
      );
    });
  }

  it("count words in the point in time that is searched, so that every gateway counts the same", async () => {
    const index = await fresh();
    const opened = (await cluster.demand(
      { method: "POST", path: `/${index}/_search/point_in_time`, query: { keep_alive: "5m" } },
      "Opening a point in time",
    )) as { pit_id: string };
    const body = { query: QUERY, pit: { id: opened.pit_id } };
    const whole = await ask(gateways[0]!, "/_search", { ...body, size: 100 });
    await writeMore(index, LATER);
    const pages: Hit[] = [];
    for (let from = 0; from < TEXTS.length; from += 7) {
      pages.push(...(await ask(gateways[1]!, "/_search", { ...body, from, size: 7 })));
    }
    const scores = (hits: readonly Hit[]) => hits.map(({ _id, _score }) => [_id, _score]);
    assert.deepEqual(scores(pages), scores(whole));
  });

  it("leave a sort alone that cannot be carried on, and values that the caller made", async () => {
    const index = await fresh();
    const sort = [{ _score: "desc" }, { year: "asc" }];
    const values = async (body: object) =>
      (await ask(gateways[0]!, `/${index}/_search`, { query: QUERY, size: 1, ...body }))[0]?.sort;
    assert.equal((await values({ sort }))?.length, 3);
    assert.equal((await values({ sort, search_after: [9, 1990] }))?.length, 2);
    assert.equal((await values({ sort: ["year"] }))?.length, 1);
    assert.equal((await values({ sort: ["_score"] })) ?? "none", "none");
    const { hits } = (await (
      await gateways[0]!.post(`/${index}/_search?scroll=1m`, { query: QUERY, sort, size: 1 })
    ).json()) as Answer["hits"] & { hits: { hits: Hit[] } };
    assert.equal(hits.hits[0]?.sort.length, 2);
  });
});
