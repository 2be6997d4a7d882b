import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import type { Browser, Page } from "playwright-core";
import { openSliceQueue, type SliceQueue } from "../../../src/queue/slice-queue.js";
import { findChromium, startChromium } from "../../support/browser.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import {
  startRecordingUpstream,
  type RecordingUpstream,
} from "../../support/recording-upstream.js";
import { testServers } from "../../support/servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const MODEL = "0123456789abcdef";
const REINDEX = `reindex-${MODEL}`;
const BOARD = "/_csplade/queues";
const OPERATOR = `Basic ${Buffer.from("operator:secret").toString("base64")}`;
const STRANGER = `Basic ${Buffer.from("stranger:secret").toString("base64")}`;
const UNSEEING = "Basic dW5zZWVpbmc6eA==";

describe("the board of the queues", function () {
  this.timeout(60_000);
  let gateway: TestGateway;
  let queue: SliceQueue;
  let settings: { "redis.url": string; "redis.prefix": string };

  before(async () => {
    settings = {
      "redis.url": testServers().redisUrl,
      "redis.prefix": `test-${randomBytes(4).toString("hex")}`,
    };
    queue = await openSliceQueue(testConfig(settings), MODEL);
    await queue.add([0, 1, 2].map((slice) => ({ format: 1 as const, run: "wiki-run", slice })));
    const { opensearchUrl } = testServers();
    gateway = await startTestGateway({ ...settings, "opensearch.url": opensearchUrl });
  });
  after(async () => {
    await gateway.stop();
    await queue.close();
  });

  it("shows the queues, and lets nobody change them", async () => {
    const page = await fetch(gateway.url + BOARD);
    assert.equal(page.status, 200, await page.clone().text());
    assert.match(await page.text(), /csplade queues/);
    assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'none'/);
    const api = `${gateway.url}${BOARD}/api/queues`;
    const { queues } = (await (await fetch(api)).json()) as {
      queues: { name: string; counts: Record<string, number>; readOnlyMode: boolean }[];
    };
    assert.deepEqual(queues.map(({ name, readOnlyMode }) => [name, readOnlyMode]).sort(), [
      [REINDEX, true],
    ]);
    assert.equal(queues.find(({ name }) => name === REINDEX)?.counts.prioritized, 3);
    const changes = [
      ["PUT", `${api}/${REINDEX}/pause`],
      ["PUT", `${api}/${REINDEX}/obliterate`],
      ["PUT", `${api}/${REINDEX}/wiki-run.0/clean`],
      ["PUT", `${api}/${REINDEX}/clean/waiting`],
      ["POST", `${api}/${REINDEX}/add`],
      ["DELETE", `${api}/${REINDEX}/wiki-run.0`],
    ] as const;
    for (const [method, url] of changes) {
      const answer = await fetch(url, { method, body: method === "DELETE" ? null : "{}" });
      assert.ok(answer.status === 404 || answer.status === 405, `${method} ${url}`);
    }
    const { prioritized, paused = 0 } = await queue.counts();
    assert.deepEqual([prioritized, paused], [3, 0]);
  });

  it("holds no password of Redis and no text", async () => {
    const details = await fetch(
      `${gateway.url}${BOARD}/api/queues?activeQueue=${REINDEX}&status=prioritized`,
    );
    const found = await details.text();
    assert.ok(found.includes("wiki-run"));
    assert.ok(!found.includes("redis://"));
  });

  it("says in a sentence that Redis is away, and goes on without it", async () => {
    const lonely = await startTestGateway({
      "redis.url": "redis://:hunter2@127.0.0.1:1",
      "opensearch.url": testServers().opensearchUrl,
    });
    try {
      const answer = await fetch(lonely.url + BOARD);
      assert.equal(answer.status, 503);
      const body = await answer.text();
      assert.match(body, /Redis at redis:\/\/127\.0\.0\.1:1 cannot be reached/);
      assert.ok(!body.includes("hunter2"));
      assert.equal((await fetch(`${lonely.url}/health`)).status, 200);
    } finally {
      await lonely.stop();
    }
  });

  it("is not there where the configuration says so", async () => {
    const without = await startTestGateway({ ...settings, "gateway.queue_board": "false" });
    try {
      assert.equal((await fetch(without.url + BOARD)).status, 404);
    } finally {
      await without.stop();
    }
  });

  describe("of a cluster with users", () => {
    let secured: TestGateway;
    let upstream: RecordingUpstream;
    before(async () => {
      upstream = await startRecordingUpstream();
      // The security plugin's answers; it cannot be had among the packages.
      upstream.answer = ({ headers }, response) => {
        const { authorization } = headers;
        const [status, body] =
          authorization === undefined
            ? [401, { error: "no" }]
            : authorization === OPERATOR
              ? [200, { _shards: { total: 1, successful: 1 }, hits: {} }]
              : // What a cluster answers that hides what one may not see.
                authorization === UNSEEING
                ? [200, { _shards: { total: 0, successful: 0 }, hits: {} }]
                : [403, { error: "no" }];
        response.writeHead(status, { "content-type": "application/json" });
        response.end(JSON.stringify({ ...body, status }));
      };
      secured = await startTestGateway({ ...settings, "opensearch.url": upstream.url });
    });
    after(async () => {
      await secured.stop();
      await upstream.close();
    });

    it("is shown to whom the cluster lets read the records of runs, and to nobody else", async () => {
      const everything = [
        "",
        "/",
        "/api/queues",
        "/api/queues/${REINDEX}/wiki-run.0",
        "/static/x.js",
      ];
      for (const below of everything) {
        const url = secured.url + BOARD + below;
        const nobody = await fetch(url);
        assert.equal(nobody.status, 401, below);
        assert.match(nobody.headers.get("www-authenticate") ?? "", /^Basic/);
        for (const authorization of [STRANGER, UNSEEING]) {
          const stranger = await fetch(url, { headers: { authorization } });
          assert.equal(stranger.status, 403, below);
        }
      }
      const operator = { headers: { authorization: OPERATOR } };
      assert.equal((await fetch(`${secured.url}${BOARD}/api/queues`, operator)).status, 200);
      // What the cluster said of the operator is not believed of others.
      assert.equal((await fetch(`${secured.url}${BOARD}/api/queues`)).status, 401);
      const asked = new Set(upstream.requests.map(({ url }) => url.split("?", 1)[0]));
      assert.deepEqual([...asked], ["/csplade-runs/_search"]);
    });
  });

  describe("in Chromium", function () {
    this.timeout(180_000);
    let browser: Browser | undefined;
    let page: Page;
    const errors: string[] = [];
    const foreign: string[] = [];

    before(async function () {
      const program = findChromium();
      if (program === undefined) {
        process.stderr.write("board test skipped: no Chromium (install it, or set CHROME_PATH)\n");
        this.skip();
      }
      browser = await startChromium(program);
      page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
      page.on("pageerror", (error) => errors.push(String(error)));
      page.on("response", (answer) => {
        if (!answer.url().startsWith(gateway.url)) foreign.push(answer.url());
      });
    });
    after(async () => {
      await browser?.close();
    });

    it("shows the jobs of a queue without a way to change them, and asks no other site", async () => {
      await page.goto(`${gateway.url}${BOARD}/queue/${REINDEX}?status=prioritized`);
      await page.getByText("wiki-run").first().waitFor({ timeout: 60_000 });
      const shown = await page.locator("body").innerText();
      assert.match(shown, /reindex/i);
      assert.equal(
        await page.getByRole("button", { name: /obliterate|promote|clean|retry/i }).count(),
        0,
      );
      if (process.env.CSPLADE_SCREENSHOT !== undefined) {
        await writeFile(process.env.CSPLADE_SCREENSHOT, await page.screenshot());
      }
      assert.deepEqual(errors, []);
      assert.deepEqual(foreign, []);
    });
  });
});
