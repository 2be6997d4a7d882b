import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../../../src/config/package-root.js";
import { withHistory } from "../../../src/query/conversation.js";
import { toFeatures, type Features } from "../../../src/sparse/features.js";
import { maxMerge } from "../../../src/sparse/sparse-vector.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";

const TEXT = "a morbid fear of being closed in a confined space";

interface Encoded {
  readonly fingerprint: string;
  readonly results: readonly { vector: Features; tokens: number; truncated: boolean }[];
}

async function json<T>(answer: Promise<Response>, status = 200): Promise<T> {
  const response = await answer;
  const body = await response.text();
  assert.equal(response.status, status, body);
  return JSON.parse(body) as T;
}

function pipelineFile(name: string): unknown {
  return JSON.parse(readFileSync(path.join(packageRoot, "pipelines", name), "utf8"));
}

describe("the gateway's encode routes", function () {
  this.timeout(60_000);
  let gateway: TestGateway;
  let document: Features;
  let query: Features;
  before(async () => {
    gateway = await startTestGateway({ "gateway.max_batch_texts": 8 });
    const [asDocument] = await gateway.encoder.encodeDocuments([TEXT]);
    document = toFeatures(maxMerge(asDocument!.passages.map((each) => each.vector)));
    const [asQuery] = await gateway.encoder.encodeQueries([TEXT]);
    query = toFeatures(asQuery!.passages[0]!.vector);
    assert.notDeepEqual(document, query);
  });
  after(() => gateway.stop());

  /** The vector the encoder itself gives, within what batching may change of a float32. */
  function same(given: Features, expected: Features): void {
    assert.deepEqual(Object.keys(given), Object.keys(expected));
    for (const [id, weight] of Object.entries(expected)) {
      assert.ok(Math.abs(given[id]! - weight) < 1e-4, `term ${id}: ${given[id]} and ${weight}`);
    }
  }

  it("POST /encode gives the encoder's vectors for one text and for several, in order", async () => {
    const one = await json<Encoded>(gateway.post("/encode", { text: TEXT }));
    same(one.results[0]!.vector, document);
    assert.equal(one.fingerprint, gateway.encoder.manifest.fingerprint);
    const texts = ["sleep", TEXT, "", "dogs", "sleep"];
    const many = await json<Encoded>(gateway.post("/encode", { texts, role: "query" }));
    assert.equal(many.results.length, 5);
    same(many.results[1]!.vector, query);
    assert.equal(many.results[1]!.truncated, true);
    assert.deepEqual(many.results[2]!.vector, {});
    assert.deepEqual(many.results[0], many.results[4]);
  });

  it("POST /encode names terms for people on request", async () => {
    const body = { text: "the space", role: "query", format: "terms" };
    const { results } = await json<Encoded>(gateway.post("/encode", body));
    assert.ok(Object.keys(results[0]!.vector).some((term) => /[a-z]/.test(term)));
  });

  it("POST /encode gives a question and what was said before it one vector, as a search's clause has", async () => {
    const history = ["dogs and cats", "  ", "sleep"];
    const asked = { text: TEXT, role: "query", history };
    const turns = await gateway.encoder.encodeQueries([TEXT, "dogs and cats", "sleep"]);
    const [question, ...before] = turns.map((each) => each.passages[0]!);
    for (const decay of [undefined, 0.25, 0]) {
      const merged = withHistory(question!, before, decay ?? 0.5);
      const body = { ...asked, ...(decay === undefined ? {} : { history_decay: decay }) };
      const { results } = await json<Encoded>(gateway.post("/encode", body));
      assert.equal(results.length, 1);
      same(results[0]!.vector, toFeatures(merged.vector));
      assert.equal(results[0]!.tokens, question!.tokens);
    }
    const named = await json<Encoded>(gateway.post("/encode", { ...asked, format: "terms" }));
    assert.equal(
      Object.keys(named.results[0]!.vector).length,
      withHistory(question!, before).vector.ids.length,
    );
    const none = await json<Encoded>(gateway.post("/encode", { ...asked, history: [] }));
    same(none.results[0]!.vector, query);
  });

  it("POST /encode refuses a history where it has no meaning, and more turns than a request may have texts", async () => {
    const history = ["sleep"];
    for (const body of [
      { text: TEXT, history },
      { texts: [TEXT], role: "query", history },
      { text: TEXT, role: "query", history, passages: {} },
      { text: TEXT, role: "query", history, history_decay: 1.5 },
      { text: TEXT, role: "query", history: [7] },
      { text: TEXT, role: "query", history: Array.from({ length: 1_001 }, () => "x") },
    ]) {
      const { error } = await json<{ error: { code: string; message: string } }>(
        gateway.post("/encode", body),
        422,
      );
      assert.equal(error.code, "request_invalid");
      assert.match(error.message, /history/);
    }
    const many = {
      text: TEXT,
      role: "query",
      history: Array.from({ length: 9 }, (_, n) => `t${n}`),
    };
    const { error } = await json<{ error: { code: string } }>(gateway.post("/encode", many), 413);
    assert.equal(error.code, "batch_too_large");
  });

  it("POST /embed_sparse answers as text-embeddings-inference does", async () => {
    type Sparse = { index: number; value: number }[][];
    const vectors = await json<Sparse>(gateway.post("/embed_sparse", { inputs: [TEXT, "sleep"] }));
    assert.equal(vectors.length, 2);
    same(Object.fromEntries(vectors[0]!.map(({ index, value }) => [index, value])), document);
    const cut = { inputs: TEXT, prompt_name: "query" };
    const refused = await json<{ error_type: string }>(gateway.post("/embed_sparse", cut), 413);
    assert.equal(refused.error_type, "Validation");
    const [allowed] = await json<Sparse>(gateway.post("/embed_sparse", { ...cut, truncate: true }));
    same(Object.fromEntries(allowed!.map(({ index, value }) => [index, value])), query);
    const empty = await json<{ error_type: string }>(
      gateway.post("/embed_sparse", { inputs: [] }),
      400,
    );
    assert.equal(empty.error_type, "Empty");
  });

  it("answers what pipelines/ml-commons-connector.json makes ml-commons send", async () => {
    const connector = pipelineFile("ml-commons-connector.json") as {
      actions: [{ url: string; request_body: string }];
    };
    const [action] = connector.actions;
    // What ml-commons does with a template: parameters that are JSON go in as they are.
    const body = action.request_body
      .replace("${parameters.input}", JSON.stringify([TEXT, "sleep"]))
      .replace("${parameters.sparse_embedding_format:-null}", "TOKEN_ID");
    const route = action.url.replace("GATEWAY_URL", "");
    const vectors = await json<Features[]>(gateway.post(route, body));
    assert.equal(vectors.length, 2);
    same(vectors[0]!, document);
  });

  it("encodes as a question what pipelines/ml-commons-query-connector.json makes ml-commons send", async () => {
    const connector = pipelineFile("ml-commons-query-connector.json") as {
      actions: [{ url: string; request_body: string }];
    };
    const [action] = connector.actions;
    const body = action.request_body
      .replace("${parameters.input}", JSON.stringify([TEXT]))
      .replace("${parameters.sparse_embedding_format:-null}", "null");
    assert.equal((JSON.parse(body) as { content_type: string }).content_type, "query");
    const route = action.url.replace("GATEWAY_URL", "");
    const vectors = await json<Features[]>(gateway.post(route, body));
    same(vectors[0]!, query);
  });

  it("answers what pipelines/elastic-inference.json makes Elasticsearch send, where it looks for it", async () => {
    const { service_settings: settings } = pipelineFile("elastic-inference.json") as {
      service_settings: {
        url: string;
        request: string;
        response: { json_parser: { token_path: string; weight_path: string } };
        input_type: { translation: { search: string } };
      };
    };
    const body = settings.request
      .replace("${input}", JSON.stringify([TEXT]))
      .replace("${input_type}", JSON.stringify(settings.input_type.translation.search));
    const answer = await json<unknown>(gateway.post(settings.url.replace("GATEWAY_URL", ""), body));
    const { token_path: tokens, weight_path: weights } = settings.response.json_parser;
    const ids = valuesAt(answer, tokens);
    const found = new Map(
      ids.map((id, i) => [id as string, valuesAt(answer, weights)[i] as number]),
    );
    same(Object.fromEntries(found), query);
  });

  it("says what is wrong with a body: status, code, and the part at fault", async () => {
    const cases: [unknown, number, RegExp][] = [
      ["{", 422, /not JSON/],
      [{}, 422, /either \\?"text\\?" or \\?"texts/],
      [{ texts: ["a", 3] }, 422, /texts\.1/],
      [{ texts: [] }, 422, /texts/],
      [{ text: "a", role: "both" }, 422, /role/],
      [{ texts: Array.from({ length: 9 }, String) }, 413, /at most 8/],
    ];
    for (const [body, status, message] of cases) {
      const { error } = await json<{ error: object }>(gateway.post("/encode", body), status);
      assert.match(JSON.stringify(error), message);
    }
  });

  it("encodes texts in any script, and 100,000 words, without failing", async () => {
    const texts = ["日本語の文章", "فضاء مغلق", "🙂\u0000\ud800", "word ".repeat(100_000)];
    const { results } = await json<Encoded>(gateway.post("/encode", { texts, role: "query" }));
    assert.deepEqual(
      results.map((each) => [Object.keys(each.vector).length > 0, "failure" in each]),
      texts.map(() => [true, false]),
    );
    assert.equal(results[3]!.truncated, true);
  });

  it("counts what it does for Prometheus, and answers repeated texts from its cache", async () => {
    const metric = async (name: string) => {
      const text = await (await fetch(`${gateway.url}/metrics`)).text();
      return Number(
        text
          .split("\n")
          .find((line) => line.startsWith(`${name} `))
          ?.split(" ")
          .at(-1),
      );
    };
    await json(gateway.post("/encode", { text: "twice" }));
    const [hits, batches] = [
      await metric('csplade_vector_cache_lookups_total{result="hit"}'),
      await metric("csplade_encode_batch_texts_count"),
    ];
    await json(gateway.post("/encode", { text: "twice" }));
    assert.equal(await metric('csplade_vector_cache_lookups_total{result="hit"}'), hits + 1);
    assert.equal(await metric("csplade_encode_batch_texts_count"), batches);
    assert.ok(
      (await metric('csplade_gateway_requests_total{route="POST /encode",status="200"}')) > 1,
    );
  });

  it("describes every route of its own at /openapi.json, and no other", async () => {
    const { paths } = await json<{ paths: Record<string, Record<string, unknown>> }>(
      fetch(`${gateway.url}/openapi.json`),
    );
    for (const [route, methods] of Object.entries(paths)) {
      for (const method of Object.keys(methods)) {
        const answer = await fetch(gateway.url + route, {
          method,
          ...(method === "post" ? { body: "[]" } : {}),
        });
        // Without a cluster there is nothing to list.
        const fine = route.endsWith("/indices") ? [502] : [200, 400, 422];
        assert.ok(fine.includes(answer.status), `${method} ${route}: ${answer.status}`);
      }
    }
    assert.ok("/encode" in paths && "/metrics" in paths);
  });

  it("is healthy and ready without a cluster, and says that there is none", async () => {
    assert.equal((await fetch(`${gateway.url}/health`)).status, 200);
    const ready = await json<{ cluster: { reachable: boolean } }>(fetch(`${gateway.url}/ready`));
    assert.equal(ready.cluster.reachable, false);
  });
});

describe("the gateway under load and at its end", function () {
  this.timeout(60_000);
  const long = Array.from({ length: 64 }, (_, i) => `text ${i} of many, `.repeat(40));

  it("answers 429 with Retry-After when the encoder's queue is full", async () => {
    const gateway = await startTestGateway({ "gateway.queue_texts": 4 });
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, i) => gateway.post("/encode", { texts: [long[i]] })),
    );
    const refused = answers.filter((answer) => answer.status === 429);
    assert.ok(refused.length > 0, answers.map((answer) => answer.status).join(" "));
    assert.ok(answers.some((answer) => answer.status === 200));
    for (const answer of refused) {
      assert.equal(answer.headers.get("retry-after"), "1");
      assert.match(await answer.text(), /"overloaded"/);
    }
    await gateway.stop();
  });

  it("gives up at its deadline with 504, and refuses bodies above its limit with 413", async () => {
    const gateway = await startTestGateway({
      "gateway.request_timeout_ms": 100,
      "gateway.max_body_bytes": 2_000_000,
    });
    const texts = long.map((text) => text.repeat(2));
    const late = await gateway.post("/encode", { texts });
    assert.equal(late.status, 504, await late.text());
    const large = await gateway.post("/encode", { text: "x".repeat(2_000_001) });
    assert.equal(large.status, 413, await large.text());
    await gateway.stop();
  });

  it("demands its API key on encode routes and nowhere else", async () => {
    const gateway = await startTestGateway({ "gateway.api_key": "right" });
    const status = async (headers: Record<string, string>) =>
      (await gateway.post("/encode", { text: "x" }, headers)).status;
    assert.equal(await status({}), 401);
    assert.equal(await status({ authorization: "Bearer wrong" }), 401);
    assert.equal(await status({ authorization: "Bearer right" }), 200);
    assert.equal((await fetch(`${gateway.url}/health`)).status, 200);
    await gateway.stop();
  });

  it("lets open requests end when it is closed, and takes no new ones", async () => {
    const gateway = await startTestGateway();
    const open = gateway.post("/encode", { texts: long });
    await new Promise((resolve) => setTimeout(resolve, 30));
    const closed = gateway.close(20_000);
    const answer = await open;
    assert.equal(answer.status, 200, await answer.text());
    await closed;
    await assert.rejects(fetch(`${gateway.url}/health`));
    await gateway.stop();
  });

  it("cuts off what is still open when its grace is over", async () => {
    const gateway = await startTestGateway({ "gateway.max_body_bytes": 100_000_000 });
    const open = gateway.post("/encode", { texts: long.map((text) => text.repeat(4)) });
    open.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 100));
    await gateway.close(50);
    await assert.rejects(open);
    await gateway.stop();
  });
});

/** The little of JSONPath that the inference file uses: `$.a.b[*].c`. */
function valuesAt(value: unknown, expression: string): unknown[] {
  return expression
    .slice(2)
    .split(".")
    .reduce<unknown[]>(
      (found, step) => {
        const name = step.replace("[*]", "");
        const next = found.map((each) => (each as Record<string, unknown>)[name]);
        return step.endsWith("[*]") ? next.flat() : next;
      },
      [value],
    );
}
