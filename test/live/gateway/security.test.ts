/**
 * A cluster with users and roles behind the gateway: everybody gets what they get without it,
 * no more and no less.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import readline from "node:readline";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { packageRoot } from "../../../src/config/package-root.js";
import { openEncoder } from "../../../src/encoder/encoder.js";
import { search } from "../../../src/query/search.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { endWithProcess } from "../../support/process-end.js";
import {
  startSecuredOpenSearch,
  type SecuredOpenSearch,
} from "../../support/secured-opensearch.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const QUESTION = "fear of closed spaces";
const CLAUSE = { csplade: QUESTION };
const PASSWORD = "a-Long_pass.77-x";

/** Index permissions of each user; nobody but the administrator may do anything to the cluster. */
const ROLES: Readonly<Record<string, object[]>> = {
  reader: [
    { index_patterns: ["open"], allowed_actions: ["read", "indices:admin/mappings/get"] },
    { index_patterns: ["other"], allowed_actions: ["read"] },
  ],
  evens: [
    {
      index_patterns: ["open"],
      dls: JSON.stringify({ term: { "kind.keyword": "even" } }),
      allowed_actions: ["read", "indices:admin/mappings/get"],
    },
  ],
  unmapped: [{ index_patterns: ["open"], allowed_actions: ["read"] }],
};

interface Answer {
  readonly status: number;
  readonly body: {
    readonly error?: { readonly type: string; readonly reason: string };
    readonly hits?: { readonly hits: readonly { readonly _id: string; readonly _score: number }[] };
    readonly responses?: readonly { readonly hits: { readonly hits: readonly object[] } }[];
    readonly count?: number;
  };
  readonly headers: Headers;
}

describe("the gateway before a cluster with users", function () {
  this.timeout(120_000);
  let server: SecuredOpenSearch;
  let admin: Cluster | undefined;
  let gateway: ChildProcess;
  let url: string;
  let said = "";
  /** Ids in the order that the administrator sees them. */
  let expected: readonly string[];

  before(async function () {
    this.timeout(900_000);
    const started = await startSecuredOpenSearch();
    if (typeof started === "string") {
      process.stderr.write(`Tests of a secured cluster are skipped: ${started}\n`);
      return this.skip();
    }
    server = started;
    const config = testConfig({
      "opensearch.url": server.url,
      "opensearch.username": "admin",
      "opensearch.password": "admin",
      "opensearch.ca_file": server.caFile,
    });
    admin = connectCluster(config);
    const encoder = await openEncoder(config);
    try {
      for (const name of ["open", "other", "hidden"]) {
        await fillEncodedIndex(admin, encoder, "merged", name);
      }
      const [encoded] = await encoder.encodeQueries([QUESTION]);
      const vector = encoded!.passages[0]!.vector;
      const { hits } = await search(admin, { index: "open", vector, size: 50 });
      expected = hits.map((hit) => hit.id);
    } finally {
      await encoder.close();
    }
    for (const [name, index_permissions] of Object.entries(ROLES)) {
      const api = `/_plugins/_security/api`;
      const role = { cluster_permissions: ["cluster_composite_ops_ro"], index_permissions };
      for (const [kind, body] of [
        [`roles/${name}`, role],
        [`internalusers/${name}`, { password: PASSWORD }],
        [`rolesmapping/${name}`, { users: [name] }],
      ] as const) {
        await admin.demand({ method: "PUT", path: `${api}/${kind}`, body }, `Making ${kind}`);
      }
    }
    const main = path.join(packageRoot, "dist", "src", "cli", "main.js");
    gateway = spawn(process.execPath, [main, "serve", "--json", "--port", "0"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        CSPLADE_MODEL: tinyCheckpoint("bi"),
        OPENSEARCH_URL: server.url,
        // The gateway's own: if it used them for anybody, this test would fail.
        OPENSEARCH_USERNAME: "admin",
        OPENSEARCH_PASSWORD: "admin",
        OPENSEARCH_CA_FILE: server.caFile,
      },
    });
    endWithProcess(gateway);
    for (const stream of [gateway.stdout, gateway.stderr]) {
      stream!.on("data", (chunk: Buffer) => (said += chunk.toString()));
    }
    const ended = once(gateway, "exit").then(() => {
      throw new Error(`csplade serve ended: ${said}`);
    });
    const line = once(readline.createInterface(gateway.stdout!), "line") as Promise<[string]>;
    ({ url } = JSON.parse((await Promise.race([line, ended]))[0]) as { url: string });
    ended.catch(() => {});
  });
  after(async () => {
    if (admin === undefined) return;
    gateway.kill("SIGTERM");
    await admin.close();
  });

  const basic = (user: string, password = PASSWORD) =>
    `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

  async function ask(user: string | undefined, at: string, body: unknown): Promise<Answer> {
    const answer = await fetch(url + at, {
      method: "POST",
      headers: {
        "content-type": at.includes("_msearch") ? "application/x-ndjson" : "application/json",
        ...(user === undefined ? {} : { authorization: user }),
      },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
    const text = await answer.text();
    return {
      status: answer.status,
      headers: answer.headers,
      body: (text.startsWith("{") ? JSON.parse(text) : {}) as Answer["body"],
    };
  }

  it("finds for a reader what the administrator finds, though the reader may ask nothing else", async () => {
    const reader = basic("reader");
    const { status, body } = await ask(reader, "/open/_search", { query: CLAUSE, size: 50 });
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(body.hits!.hits.map((hit) => hit._id).sort(), [...expected].sort());
    assert.equal(body.hits!.hits[0]!._id, "0");
    assert.equal(
      (await ask(reader, "/open/_count", { query: CLAUSE })).body.count,
      expected.length,
    );
    const lines = `{"index":"open"}\n${JSON.stringify({ query: CLAUSE })}\n`;
    const many = await ask(reader, "/_msearch", lines);
    assert.equal(many.body.responses![0]!.hits.hits.length, Math.min(10, expected.length));
  });

  it("keeps document-level security: a clause finds only what its caller may see", async () => {
    const { body } = await ask(basic("evens"), "/open/_search", { query: CLAUSE, size: 50 });
    const seen = expected.filter((id) => Number(id) % 2 === 0);
    assert.deepEqual(body.hits!.hits.map((hit) => hit._id).sort(), seen.sort());
    assert.ok(seen.length < expected.length);
  });

  it("refuses in the cluster's words what its caller may not, with a clause and without", async () => {
    // Look-ups of the administrator's are remembered, for the administrator.
    const own = await ask(basic("admin", "admin"), "/hidden/_search", { query: CLAUSE });
    assert.equal(own.status, 200);
    for (const query of [CLAUSE, { match_all: {} }]) {
      const refused = await ask(basic("reader"), "/hidden/_search", { query });
      assert.equal(refused.status, 403, JSON.stringify(refused.body));
      assert.equal(refused.body.error!.type, "security_exception");
    }
    const bulk = await ask(basic("reader"), "/open/_doc", { text: "x" });
    assert.equal(bulk.status, 403);
  });

  it("names the right that a clause needs and its caller lacks; other searches go on", async () => {
    const refused = await ask(basic("unmapped"), "/open/_search", { query: CLAUSE });
    assert.equal(refused.status, 403);
    assert.match(refused.body.error!.reason, /indices:admin\/mappings\/get/);
    const plain = await ask(basic("unmapped"), "/open/_search", {
      query: { match: { text: "fear" } },
    });
    assert.equal(plain.status, 200);
  });

  it("answers 401 to nobody and to a wrong password, as the cluster does", async () => {
    for (const user of [undefined, basic("reader", "wrong")]) {
      for (const query of [CLAUSE, { match_all: {} }]) {
        const refused = await ask(user, "/open/_search", { query });
        assert.equal(refused.status, 401);
        assert.match(refused.headers.get("www-authenticate") ?? "", /^Basic realm=/);
      }
    }
  });

  it("says nothing of credentials, questions or documents in its logs and metrics", async () => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    const ready = await (await fetch(`${url}/ready`)).text();
    assert.match(ready, /"reachable":true/);
    for (const secret of [
      PASSWORD,
      basic("reader").slice(6),
      basic("admin", "admin").slice(6),
      QUESTION,
    ]) {
      assert.ok(!(said + metrics + ready).includes(secret), `${secret} in: ${said}`);
    }
  });
});
