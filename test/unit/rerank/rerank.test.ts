/** Reranking by a real cross-encoder and by a real server, and what becomes of an order when they fail. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { openReranker } from "../../../src/rerank/open-reranker.js";
import { rerank } from "../../../src/rerank/rerank.js";
import type { Reranker } from "../../../src/rerank/reranker.js";
import { pairing } from "../../../src/rerank/text-pairs.js";
import { createTokenizer, readTokenizerFile } from "../../../src/text/tokenizer.js";
import { startRerankServer, wordsShared, type RerankServer } from "../../support/rerank-server.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";
import path from "node:path";

const directory = tinyCheckpoint("cross-encoder");
const TEXTS = ["a cat", "", "the dog of the house 🙂", "x", "fear of ".repeat(500)];
const soon = () => AbortSignal.timeout(20_000);

async function opened(settings: Parameters<typeof testConfig>[0]): Promise<Reranker> {
  const reranker = await openReranker(testConfig(settings));
  assert.ok(reranker !== undefined);
  return reranker;
}

describe("pairs of a question and a text", () => {
  const file = readTokenizerFile(path.join(directory, "tokenizer.json"));
  const tokenizer = createTokenizer(file);
  const around = { prefix: "", suffix: "", begin: [], end: ["[SEP]"] };
  const input = { query: { ...around, begin: ["[CLS]"] }, document: around };

  it("are never longer than the limit, and cut the text before the question", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme", maxLength: 120 }),
        fc.string({ unit: "grapheme", maxLength: 400 }),
        fc.integer({ min: 8, max: 64 }),
        (question, text, max_tokens) => {
          const [pair] = pairing(tokenizer, file, { input, max_tokens })(question, [text]);
          assert.ok(pair !== undefined);
          const { ids, types } = pair;
          assert.ok(ids.length <= max_tokens);
          assert.equal(types.length, ids.length);
          const asked = tokenizer.encode(question);
          const room = max_tokens - 3;
          const kept = asked.length < room ? asked : asked.slice(0, Math.floor(room / 2));
          assert.deepEqual(ids.slice(1, 1 + kept.length), kept);
          assert.equal(types.indexOf(1), kept.length + 2);
          const own = tokenizer.encode(text).slice(0, room - kept.length);
          assert.deepEqual(ids.slice(kept.length + 2, -1), own);
        },
      ),
    );
  });
});

describe("a cross-encoder's directory", function () {
  this.timeout(30_000);
  let reranker: Reranker;
  before(async () => {
    reranker = await opened({ "rerank.model": directory });
  });
  after(() => reranker.close());

  it("scores every text, alike whatever stands beside it", async () => {
    const scores = await reranker.score("fear of the dog", TEXTS, soon());
    assert.equal(new Set(scores.map((score) => score.toFixed(6))).size > 2, true);
    const alone = await Promise.all(
      TEXTS.map((text) => reranker.score("fear of the dog", [text], soon())),
    );
    alone.flat().forEach((score, i) => assert.ok(Math.abs(score - (scores[i] ?? NaN)) < 1e-5));
  });

  it("leaves a question whose time is up, and answers the next one", async () => {
    const many = Array.from({ length: 400 }, (_, i) => `${TEXTS[i % 5]} ${i}`);
    await assert.rejects(reranker.score("a", many, AbortSignal.timeout(1)), /timeout/i);
    assert.equal((await reranker.score("a", ["b"], soon())).length, 1);
  });

  it("is refused where it is a sparse encoder, or nothing", async () => {
    const code = (expected: string) => (thrown: unknown) =>
      thrown instanceof CspladeError && thrown.code === expected;
    const open = (name: string) => openReranker(testConfig({ "rerank.model": name }));
    await assert.rejects(open(tinyCheckpoint("bi")), code("model_invalid"));
    await assert.rejects(open("/nowhere"), code("model_not_found"));
    const both = { "rerank.model": directory, "rerank.remote": "http://127.0.0.1:1" };
    await assert.rejects(openReranker(testConfig(both)), code("config_invalid"));
    assert.equal(await openReranker(testConfig()), undefined);
  });
});

describe("a server that reranks", function () {
  this.timeout(30_000);
  let server: RerankServer;
  beforeEach(async () => {
    server = await startRerankServer();
  });
  afterEach(() => server.close());

  const many = Array.from({ length: 70 }, (_, i) => `text ${i} of ${i % 3 ? "dogs" : "cats"}`);
  const expected = many.map((text) => wordsShared("cats text", text));

  it("is asked as text-embeddings-inference is, in parts", async () => {
    const reranker = await opened({ "rerank.remote": server.url, "rerank.remote_key": "secret" });
    assert.deepEqual(await reranker.score("cats text", many, soon()), expected);
    assert.deepEqual(
      server.asked.map(({ path }) => path),
      ["/rerank", "/rerank", "/rerank"],
    );
    assert.equal(server.asked[0]?.authorization, "Bearer secret");
    assert.ok(server.asked.every(({ body }) => (body.texts?.length ?? 99) <= 32));
    await reranker.close();
  });

  it("is asked in Cohere's form where a model is named, at the path that its URL has", async () => {
    const settings = { "rerank.remote": `${server.url}/v9/order`, "rerank.remote_model": "m" };
    const reranker = await opened(settings);
    assert.deepEqual(
      await reranker.score("cats text", many.slice(0, 5), soon()),
      expected.slice(0, 5),
    );
    const [asked] = server.asked;
    assert.equal(asked?.path, "/v9/order");
    assert.equal(asked.body.model, "m");
    assert.equal(asked.body.documents?.length, 5);
    await reranker.close();
  });

  it("is asked again while it is busy, and can be asked after it failed", async () => {
    const reranker = await opened({ "rerank.remote": server.url });
    let times = 0;
    server.fault = () => Promise.resolve(times++ < 1 ? [503, "busy"] : undefined);
    assert.equal((await reranker.score("a", ["a"], soon()))[0], 1);
    for (const wrong of [[], [{ index: 5, score: 1 }], [{ index: 0, score: "much" }], "no"]) {
      server.fault = () => Promise.resolve([200, wrong]);
      await assert.rejects(reranker.score("a", ["a"], soon()), /answer/);
    }
    server.fault = () => Promise.resolve([401, "who are you"]);
    await assert.rejects(reranker.score("a", ["a"], soon()), /401/);
    server.fault = undefined;
    assert.equal((await reranker.score("a", ["a"], soon()))[0], 1);
    await reranker.close();
  });

  it("changes no order when it is late or fails, and the answer says so; when it answers only the first change places", async () => {
    const reranker = await opened({ "rerank.remote": server.url });
    const hits = ["b", "a b", "a c", "a"].map((text, i) => ({ id: i, text }));
    const textsOf = (first: readonly (typeof hits)[number][]) => first.map(({ text }) => text);
    const ask = (timeoutMs: number, most = 3) =>
      rerank(reranker, "a b", hits, textsOf, { hits: most, timeoutMs });
    server.fault = async () => {
      await sleep(2_000);
      return undefined;
    };
    const late = await ask(100);
    assert.deepEqual(late.hits, hits);
    assert.equal(late.reranking.done, false);
    assert.match(late.reranking.reason ?? "", /rerank\.timeout_ms/);
    server.fault = () => Promise.resolve([500, "broken"]);
    assert.equal((await ask(600)).reranking.done, false);
    server.fault = undefined;
    const done = await ask(5_000);
    assert.deepEqual(
      done.hits.map(({ id }) => id),
      [1, 0, 2, 3],
    );
    assert.deepEqual(
      done.hits.map(({ rerank_score }) => rerank_score),
      [1, 0.5, 0.5, undefined],
    );
    const given = new AbortController();
    given.abort(new Error("gone"));
    const limits = { hits: 2, timeoutMs: 1_000, signal: given.signal };
    await assert.rejects(rerank(reranker, "a", hits, textsOf, limits), /gone/);
    await reranker.close();
  });
});
