import assert from "node:assert/strict";
import { CspladeError, type ErrorCode } from "../../../src/errors/csplade-error.js";
import { startGateway } from "../../../src/gateway/gateway.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import {
  startRecordingUpstream,
  type RecordingUpstream,
} from "../../support/recording-upstream.js";
import { answerLookups } from "../../support/sent-as-is.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

interface Described {
  readonly requestBody?: { readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly content: Content }>>;
}

type Content = Readonly<
  Record<
    string,
    { readonly schema?: { readonly required?: readonly string[]; readonly oneOf?: unknown } }
  >
>;

const long = Array.from({ length: 64 }, (_, i) => `text ${i} of many, `.repeat(80));

describe("/openapi.json", function () {
  this.timeout(60_000);
  let gateway: TestGateway;
  let upstream: RecordingUpstream;
  let paths: Readonly<Record<string, Readonly<Record<string, Described>>>>;

  before(async () => {
    upstream = await startRecordingUpstream();
    gateway = await startTestGateway({
      "opensearch.url": upstream.url,
      "gateway.api_key": "right",
      "gateway.max_batch_texts": 64,
      "gateway.request_timeout_ms": 300,
      "gateway.queue_texts": 64,
      "gateway.max_body_bytes": 2_000_000,
    });
    const document = (await (await fetch(`${gateway.url}/_csplade/openapi.json`)).json()) as {
      paths: typeof paths;
    };
    ({ paths } = document);
  });
  after(async () => {
    await gateway.stop();
    await upstream.close();
  });

  const key = { authorization: "Bearer right" };

  /** Sends a body and checks that the answer is one of those described. */
  async function described(
    route: string,
    body: unknown,
    headers: Record<string, string> = key,
  ): Promise<number> {
    const answer = await gateway.post(route, body, headers);
    const text = await answer.text();
    const found = paths[route]?.post?.responses[answer.status];
    assert.ok(found !== undefined, `${route} answers ${answer.status}: ${text.slice(0, 300)}`);
    const schema = found.content["application/json"]?.schema;
    for (const name of schema?.required ?? []) {
      assert.ok(Object.hasOwn(JSON.parse(text) as object, name), `${route} ${name}: ${text}`);
    }
    return answer.status;
  }

  const ROUTES: readonly (readonly [string, (texts: readonly unknown[]) => object])[] = [
    ["/encode", (texts) => ({ texts })],
    ["/embed_sparse", (inputs) => ({ inputs, truncate: true })],
    ["/v1/opensearch/sparse", (texts) => ({ texts })],
    ["/v1/elastic/sparse", (input) => ({ input })],
  ];
  for (const [route, bodyOf] of ROUTES) {
    it(`names every status of ${route}, in its own shape`, async () => {
      assert.equal(await described(route, bodyOf(["a"])), 200);
      assert.equal(await described(route, bodyOf(["a"]), {}), 401);
      assert.equal(await described(route, "{"), 422);
      assert.equal(await described(route, bodyOf([3])), 422);
      assert.equal(await described(route, bodyOf(Array.from({ length: 65 }, String))), 413);
      assert.equal(await described(route, bodyOf(["x".repeat(2_000_001)])), 413);
      const full = await Promise.all([1, 2, 3, 4].map(() => described(route, bodyOf(long))));
      assert.ok(full.includes(429), full.join(" "));
      if (route === "/embed_sparse") assert.equal(await described(route, bodyOf([])), 400);
    });
  }

  it("names every status of the comparison, those of the cluster with it", async () => {
    const route = "/_csplade/compare";
    const body = { index: "docs", question: "a" };
    assert.equal(await described(route, {}), 400);
    assert.equal(await described(route, body), 400, "no index has vectors");
    for (const status of [401, 403, 404]) {
      upstream.answer = (_request, response) =>
        response
          .writeHead(status, { "content-type": "application/json" })
          .end('{"error":{"type":"t","reason":"r","root_cause":[]},"status":401}');
      const headers = { authorization: `Bearer ${status}` };
      assert.equal(await described(route, body, headers), status);
    }
    upstream.answer = (_request, response) => response.destroy();
    assert.equal(await described(route, body, { authorization: "Bearer none" }), 502);
  });

  /** What an encoder throws (`src/encoder`, `src/text`), and what nobody expects. */
  const ENCODER_ERRORS: readonly ErrorCode[] = [
    ...(["encode_failed", "encode_unsupported", "document_breaks_device"] as const),
    ...(["device_failed", "device_hung", "model_invalid", "model_not_found"] as const),
    ...(["provider_unavailable", "provider_unsuitable", "deadline_exceeded", "aborted"] as const),
  ];

  it("names every status that an error of the encoder has, on every route that encodes", async () => {
    const lookups = answerLookups(() => gateway);
    const cluster = await startRecordingUpstream();
    cluster.answer = (request, response) =>
      lookups({ ...request, url: `/prefix${request.url}` }, response);
    let thrown: Error = new Error("unexpected");
    const fail = () => Promise.reject(thrown);
    const failing = await startGateway({
      config: testConfig({ "gateway.port": 0, "opensearch.url": cluster.url }),
      encoder: { ...gateway.encoder, encodeDocuments: fail, encodeQueries: fail },
    });
    try {
      const errors = [thrown, ...ENCODER_ERRORS.map((code) => new CspladeError(code, "A test."))];
      const routes = [
        ...ROUTES.map(([route, bodyOf]) => [route, bodyOf(["a"])] as const),
        ["/_csplade/compare", { index: "docs", question: "a" }] as const,
        ["/_csplade/origin", { index: "docs", question: "a", hit_index: "docs", id: "1" }] as const,
      ];
      for (const error of errors) {
        thrown = error;
        for (const [route, body] of routes) {
          const answer = await fetch(failing.url + route, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify(body),
          });
          const text = await answer.text();
          const found = paths[route]?.post?.responses;
          assert.ok(answer.status >= 400, text);
          const known = found?.[answer.status]?.content["application/json"]?.schema;
          assert.ok(known, `${route} answers ${answer.status}: ${text}`);
          for (const name of known.required ?? []) {
            assert.ok(Object.hasOwn(JSON.parse(text) as object, name), text);
          }
        }
      }
    } finally {
      await failing.close(100);
      await cluster.close();
    }
  });

  it("names every status of the list of indices, and says that the cluster's own may be others", async () => {
    const route = "/_csplade/indices";
    const known = paths[route]?.get?.responses ?? {};
    const refusal = '{"error":{"type":"t","reason":"r","root_cause":[]},"status":429}';
    for (const status of [401, 403, 429, 500, 503]) {
      upstream.answer = (_request, response) =>
        response.writeHead(status, { "content-type": "application/json" }).end(refusal);
      const answer = await fetch(gateway.url + route);
      assert.ok(known[answer.status], `${answer.status}: ${await answer.text()}`);
    }
    upstream.answer = (_request, response) =>
      response.writeHead(200, { "content-type": "application/json" }).end("{not JSON");
    const garbled = await fetch(gateway.url + route);
    assert.ok(known[garbled.status], `${garbled.status}: ${await garbled.text()}`);
    upstream.answer = (_request, response) => response.destroy();
    assert.equal((await fetch(gateway.url + route)).status, 502);
    for (const named of [known, paths["/_csplade/compare"]?.post?.responses]) {
      assert.ok(named?.default);
    }
  });

  it("says that exactly one of two keys is to be given", () => {
    for (const [route, names] of [
      ["/encode", ["text", "texts"]],
      ["/v1/opensearch/sparse", ["texts", "input"]],
    ] as const) {
      const schema = paths[route]?.post?.requestBody?.content["application/json"]?.schema;
      assert.deepEqual(
        schema?.oneOf,
        names.map((name) => ({ required: [name] })),
      );
    }
  });
});
