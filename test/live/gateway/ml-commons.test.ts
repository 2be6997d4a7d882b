/**
 * A stock cluster with ml-commons, encoding through our gateway: the files in `pipelines/` as
 * people apply them. The plugin is a 390 MB download, kept beside the other downloads, so this
 * runs on request only.
 */
import assert from "node:assert/strict";
import { copyFile, cp, readFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { packageRoot } from "../../../src/config/package-root.js";
import { readExplanation } from "../../../src/query/explanation.js";
import { ensureDistribution } from "../../../src/servers/distribution.js";
import type { Artifact } from "../../../src/servers/distribution-lock.js";
import { downloadArtifacts } from "../../../src/servers/download.js";
import { homeAt, prepareHome } from "../../../src/servers/home.js";
import { isOpenSearchHealthy, startOpenSearch } from "../../../src/servers/opensearch-server.js";
import { findFreePort } from "../../../src/servers/port.js";
import { changeState } from "../../../src/servers/state.js";
import { unpackZip } from "../../../src/servers/zip.js";
import type { Features } from "../../../src/sparse/features.js";
import { isHashedId } from "../../../src/sparse/term-id.js";
import { SENTENCES } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { endHome } from "../../support/process-end.js";
import { makeTestFolder, sharedCache } from "../../support/servers.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const WANTED = process.env.CSPLADE_TEST_ML_COMMONS === "1";
const KEY = "the-gateway's-key";
/** "Kwyjibo" is no row of any vocabulary: with a lexical part its term is a hash of 2³¹ or more. */
const TEXTS = [...SENTENCES, "a kwyjibo by the sea"];
const QUESTIONS = ["fear of closed spaces", "a kwyjibo"];

const PLUGIN: Artifact = {
  coordinate: "org.opensearch.plugin:opensearch-ml-plugin:3.6.0.0:zip",
  file: "opensearch-ml-plugin-3.6.0.0.zip",
  sha256: "c051d436fe1936da1477bb999db829eb2bc92b12989e376c300d0a874fb90f9d",
  to: "plugins/opensearch-ml",
};
/** What ml-commons needs and does not bring: without it the first connector ends the node. */
const CRYPTOGRAPHY: Artifact = {
  coordinate: "org.bouncycastle:bc-fips:2.1.2:jar",
  file: "bc-fips-2.1.2.jar",
  sha256: "044fcd8a29d236edea8a5b414406cdae63b475f9ad9f05fe2dc904a277941115",
  to: "lib",
};

interface Found {
  readonly hits: {
    readonly hits: readonly {
      readonly _id: string;
      readonly _score: number;
      readonly _explanation?: unknown;
    }[];
  };
}

describe("a stock OpenSearch with ml-commons", function () {
  this.timeout(1_200_000);
  let folder: string | undefined;
  let url: string;
  let gateway: TestGateway | undefined;
  let cluster: Cluster;

  before(async function () {
    if (!WANTED) {
      process.stderr.write(
        "ml-commons test skipped: set CSPLADE_TEST_ML_COMMONS=1 (a 390 MB download the first time)\n",
      );
      this.skip();
    }
    folder = await makeTestFolder();
    url = await startWithMlCommons(folder);
    cluster = connectCluster(testConfig({ "opensearch.url": url }));
    await demand("PUT", "/_cluster/settings", {
      persistent: {
        "plugins.ml_commons.only_run_on_ml_node": false,
        "plugins.ml_commons.connector.private_ip_enabled": true,
        "plugins.ml_commons.trusted_connector_endpoints_regex": [
          "^http://127\\.0\\.0\\.1:[0-9]+/.*$",
        ],
      },
    });
  });
  afterEach(async () => {
    await gateway?.stop();
    gateway = undefined;
  });
  after(async () => {
    if (folder !== undefined) {
      await cluster.close();
      await endHome(folder);
    }
  });

  const demand = (method: "GET" | "POST" | "PUT", at: string, body?: object) => {
    const [path = "", parameters] = at.split("?");
    const query = Object.fromEntries(new URLSearchParams(parameters));
    const more = body === undefined ? {} : { body };
    return cluster.demand({ method, path, query, ...more }, `${method} ${at}`);
  };

  /** A file of `pipelines/` with its upper-case words filled in. */
  async function filled(name: string, words: Readonly<Record<string, string>>): Promise<object> {
    let text = await readFile(path.join(packageRoot, "pipelines", name), "utf8");
    for (const [word, value] of Object.entries(words)) text = text.replaceAll(word, value);
    return JSON.parse(text) as object;
  }

  for (const checkpoint of ["bi", "lexical"] as const) {
    it(`encodes documents with sparse_encoding and questions with neural_sparse, by the files in pipelines/ (${checkpoint})`, async () => {
      gateway = await startTestGateway({
        "model.path": tinyCheckpoint(checkpoint),
        "opensearch.url": url,
        "gateway.api_key": KEY,
      });
      const encode = await filled("ml-commons-ingest.json", { MODEL_ID: await deployed("") });
      await demand("PUT", "/_ingest/pipeline/csplade-encode", encode);
      const words = { QUERY_MODEL_ID: await deployed("query-") };
      const enrich = await filled("ml-commons-search.json", words);
      await demand("PUT", "/_search/pipeline/csplade", enrich);
      const index = `stock-${checkpoint}`;
      await demand("PUT", `/${index}`, {
        settings: { index: { default_pipeline: "csplade-encode" } },
        mappings: { properties: { text: { type: "text" }, csplade: { type: "rank_features" } } },
      });
      const lines = TEXTS.flatMap((text, i) => [{ index: { _id: String(i) } }, { text }]);
      const written = (await cluster.demand(
        {
          method: "POST",
          path: `/${index}/_bulk`,
          query: { refresh: true },
          body: lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
        },
        "Writing documents",
      )) as { errors: boolean };
      assert.equal(written.errors, false, JSON.stringify(written));

      for (const [id, text] of TEXTS.entries()) {
        const stored = (await demand("GET", `/${index}/_doc/${id}`)) as {
          _source: { csplade: Features };
        };
        sameVector(stored._source.csplade, await encoded(text, "document"));
      }
      const kwyjibo = Object.keys(await encoded("kwyjibo", "query"));
      const hashed = kwyjibo.filter((id) => isHashedId(Number(id)));
      assert.equal(hashed.length, checkpoint === "lexical" ? 1 : 0);

      for (const query_text of QUESTIONS) {
        const found = (await demand("POST", `/${index}/_search?search_pipeline=csplade`, {
          query: { neural_sparse: { csplade: { query_text } } },
          size: 50,
          explain: true,
        })) as Found;
        const query_tokens = await encoded(query_text, "query");
        const expected = (await demand("POST", `/${index}/_search`, {
          query: { neural_sparse: { csplade: { query_tokens } } },
          size: 50,
        })) as Found;
        const { hits } = found.hits;
        assert.equal(hits[0]!._id, query_text.includes("kwyjibo") ? String(SENTENCES.length) : "0");
        const scores = new Map(expected.hits.hits.map((hit) => [hit._id, hit._score]));
        assert.equal(hits.length, scores.size);
        for (const { _id, _score } of hits) {
          const wanted = scores.get(_id)!;
          assert.ok(Math.abs(_score - wanted) < 1e-3 * wanted, `${_id}: ${_score} ${wanted}`);
        }
        if (!query_text.includes("kwyjibo")) continue;
        const { contributions } = readExplanation(hits[0]!._explanation);
        for (const id of hashed) assert.ok(contributions.some((each) => each.id === Number(id)));
      }
    });
  }

  it("is the model of a semantic field, which encodes documents and questions by itself", async () => {
    gateway = await startTestGateway({ "opensearch.url": url, "gateway.api_key": KEY });
    const [model_id, search_model_id] = [await deployed(""), await deployed("query-")];
    await demand("PUT", "/stock-semantic", {
      mappings: { properties: { text: { type: "semantic", model_id, search_model_id } } },
    });
    const lines = SENTENCES.flatMap((text, i) => [{ index: { _id: String(i) } }, { text }]);
    const written = (await cluster.demand(
      {
        method: "POST",
        path: "/stock-semantic/_bulk",
        query: { refresh: true },
        body: lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
      },
      "Writing documents",
    )) as { errors: boolean };
    assert.equal(written.errors, false, JSON.stringify(written));
    const [query_text = ""] = QUESTIONS;
    const found = (await demand("POST", "/stock-semantic/_search", {
      query: { neural: { text: { query_text } } },
      size: 50,
    })) as Found;
    const query_tokens = await encoded(query_text, "query");
    const expected = (await demand("POST", "/stock-semantic/_search", {
      query: { neural_sparse: { "text_semantic_info.embedding": { query_tokens } } },
      size: 50,
    })) as Found;
    assert.equal(found.hits.hits[0]?._id, "0");
    const scores = new Map(expected.hits.hits.map((hit) => [hit._id, hit._score]));
    assert.equal(found.hits.hits.length, scores.size);
    for (const { _id, _score } of found.hits.hits) {
      const wanted = scores.get(_id)!;
      assert.ok(Math.abs(_score - wanted) < 1e-3 * wanted, `${_id}: ${_score} ${wanted}`);
    }
  });

  /** Makes a connector and its model, that of documents or that of questions; gives its id. */
  async function deployed(kind: "" | "query-"): Promise<string> {
    const connector = await filled(`ml-commons-${kind}connector.json`, {
      GATEWAY_URL: gateway!.url,
      '"API_KEY"': JSON.stringify(KEY),
    });
    const made = (await demand("POST", "/_plugins/_ml/connectors/_create", connector)) as {
      connector_id: string;
    };
    const id = made.connector_id;
    const words = { QUERY_CONNECTOR_ID: id, CONNECTOR_ID: id };
    const model = await filled(`ml-commons-${kind}model.json`, words);
    const registered = (await demand(
      "POST",
      "/_plugins/_ml/models/_register?deploy=true",
      model,
    )) as { model_id: string };
    await untilDeployed(registered.model_id);
    return registered.model_id;
  }

  function sameVector(found: Features, expected: Features): void {
    assert.deepEqual(new Set(Object.keys(found)), new Set(Object.keys(expected)));
    for (const [id, weight] of Object.entries(expected)) {
      assert.ok(Math.abs(found[id]! - weight) < 1e-4, id);
    }
  }

  async function encoded(text: string, role: "document" | "query"): Promise<Features> {
    const headers = { authorization: `Bearer ${KEY}` };
    const answer = await gateway!.post("/encode", { text, role }, headers);
    const { results } = (await answer.json()) as { results: [{ vector: Features }] };
    return results[0].vector;
  }

  async function untilDeployed(model: string): Promise<void> {
    let state = "";
    for (let i = 0; i < 240 && state !== "DEPLOYED"; i++) {
      await sleep(500);
      const asked = (await demand("GET", `/_plugins/_ml/models/${model}`)) as {
        model_state: string;
      };
      state = asked.model_state;
    }
    assert.equal(state, "DEPLOYED");
  }
});

/** The embedded OpenSearch with one more plugin, in a folder of its own. */
async function startWithMlCommons(folder: string): Promise<string> {
  const cache = sharedCache();
  const distribution = await ensureDistribution("3.6.0", cache);
  const downloads = path.join(cache, "downloads");
  await downloadArtifacts([PLUGIN, CRYPTOGRAPHY], downloads);
  const home = homeAt(folder);
  await prepareHome(home);
  const whole = path.join(folder, "opensearch-ml");
  await cp(distribution.folder, whole, { recursive: true });
  await copyFile(
    path.join(downloads, CRYPTOGRAPHY.file),
    path.join(whole, CRYPTOGRAPHY.to, CRYPTOGRAPHY.file),
  );
  // Models in the cluster itself need ONNX Runtime's GPU libraries, 304 MB; remote ones do not.
  await unpackZip(path.join(downloads, PLUGIN.file), path.join(whole, PLUGIN.to), (name) =>
    name.includes("onnxruntime_gpu") ? undefined : name,
  );
  const port = await findFreePort();
  const heap = "1g";
  const { pid } = await startOpenSearch(home, { ...distribution, folder: whole }, { port, heap });
  await changeState(home, { opensearch: { pid, port, version: "3.6.0", heap } });
  const end = Date.now() + 900_000;
  while (!(await isOpenSearchHealthy(port, pid))) {
    if (Date.now() > end) throw new Error("OpenSearch with ml-commons does not become healthy.");
    await sleep(1_000);
  }
  return `http://127.0.0.1:${port}`;
}
