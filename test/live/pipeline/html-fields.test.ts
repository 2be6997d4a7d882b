/** Fields that hold HTML: their text is encoded by whatever brings a document into an index. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathOf } from "../../../src/cluster/request.js";
import type { SettingName } from "../../../src/config/settings.js";
import { readIndexModel } from "../../../src/index/csplade-index.js";
import { followIndex } from "../../../src/pipeline/followed-documents.js";
import { openSearcher } from "../../../src/searcher/searcher.js";
import { environmentOf, runCsplade } from "../../support/csplade-command.js";
import { openIngestSuite, type IngestSuite } from "../../support/ingesting.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";
import { contentOf, fill } from "../../support/reindexing.js";
import { testServers } from "../../support/servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const HARBOUR = "Boats lie in the harbour. The sea is calm & grey.";
const TOWER = "A tower of stone.";
/** Each page has a twin, which is its text. */
const DOCUMENTS = [
  {
    id: "harbour",
    body: "<p>Boats lie in the <b>harbour</b>.<script>var volcano = 'eruption';</script></p><style>lava{}</style><div>The sea is calm &amp; grey.</div>",
  },
  { id: "harbour-twin", body: HARBOUR },
  { id: "tower", body: "<!-- glacier --><h1>A tower of stone.</h1><template>glacier</template>" },
  { id: "tower-twin", body: TOWER },
];
const ASKED = {
  "ingest.id_field": "id",
  "ingest.text_fields": ["body"],
  "ingest.html_fields": ["body"],
};

describe("fields of HTML", function () {
  this.timeout(180_000);
  let suite: IngestSuite;
  let runs: ReindexSuite;

  before(async () => {
    suite = await openIngestSuite("html-");
    runs = await openReindexSuite("html-");
  });
  after(async () => {
    await runs.close();
    await suite.close();
  });

  const configOf = (flags: Partial<Record<SettingName, unknown>>) =>
    testConfig({
      home: suite.folder,
      "opensearch.url": testServers().opensearchUrl,
      "redis.url": testServers().redisUrl,
      ...flags,
    });
  const ingest = (
    index: string,
    lines: readonly object[],
    flags: Partial<Record<SettingName, unknown>>,
    fromDeadLetters = false,
  ) =>
    suite.ingest(index, [suite.write(`${index}.ndjson`, lines)], {
      config: configOf(flags),
      fromDeadLetters,
    });
  const vectorsOf = async (index: string) => {
    const stored = await contentOf(suite.cluster, index, { vectors: true });
    return new Map([...stored].map(([id, { csplade }]) => [id, csplade]));
  };

  async function assertTwins(index: string): Promise<void> {
    const vectors = await vectorsOf(index);
    for (const id of ["harbour", "tower"]) {
      assert.ok(Object.keys(vectors.get(id) as object).length > 0);
      assert.deepEqual(vectors.get(id), vectors.get(`${id}-twin`), id);
    }
  }

  it("are encoded by their text, found by its words and not by those of scripts, and stored byte for byte", async () => {
    const index = "html-ingested";
    const summary = await ingest(index, DOCUMENTS, ASKED);
    assert.deepEqual([summary.written, summary.failed], [4, 0]);
    await assertTwins(index);
    for (const document of DOCUMENTS) {
      const path = pathOf(index, "_source", document.id);
      const text = await suite.cluster.demandText({ method: "GET", path }, "Reading");
      const own = JSON.stringify(document);
      assert.equal(text.slice(0, own.length - 1), own.slice(0, -1));
    }
    const searcher = openSearcher({ cluster: suite.cluster, encoder: suite.encoder });
    for (const question of ["boats in the harbour", "volcano eruption", "glacier"]) {
      const { hits } = await searcher.search(index, question);
      const scores = new Map(hits.map(({ id, score }) => [id, score]));
      // Words of scripts tell a page from its text no more than any others.
      for (const id of ["harbour", "tower"]) {
        assert.equal(scores.get(id), scores.get(`${id}-twin`), `${id} by ${question}`);
      }
    }
    const { hits } = await searcher.search(index, HARBOUR);
    assert.deepEqual(
      hits
        .slice(0, 2)
        .map(({ id }) => id)
        .sort(),
      ["harbour", "harbour-twin"],
    );
  });

  it("are the index's for a command that leaves them out, and refused where a command has others", async () => {
    const index = "html-recorded";
    await ingest(index, DOCUMENTS, ASKED);
    assert.deepEqual((await readIndexModel(suite.cluster, index)).html_fields, ["body"]);
    const rest = { "ingest.id_field": "id", "ingest.text_fields": ["body"] };
    assert.equal((await ingest(index, DOCUMENTS, rest)).skipped, 4);
    await ingest("html-none", DOCUMENTS, rest);
    assert.equal((await readIndexModel(suite.cluster, "html-none")).html_fields, undefined);
    await assert.rejects(ingest("html-none", DOCUMENTS, ASKED), {
      code: "index_invalid",
      message: /html_fields: the index has "none", this command "body"/,
    });
    const strange = { ...ASKED, "ingest.html_fields": ["bdoy"] };
    await assert.rejects(ingest("html-strange", DOCUMENTS, strange), { code: "config_invalid" });
  });

  it("are noted by dead letters, and read alike by a replay", async () => {
    const index = "html-replayed";
    const page = { ...DOCUMENTS[0], csplade: "a name of ours" };
    assert.equal((await ingest(index, [page], ASKED)).failed, 1);
    const [letter = ""] = readFileSync(suite.lettersOf(index), "utf8").trim().split("\n");
    const { identity } = JSON.parse(letter) as { identity: { html_fields?: unknown } };
    assert.deepEqual(identity.html_fields, ["body"]);
    const mended = [JSON.parse(letter.replaceAll("csplade", "ours")) as object];
    assert.equal((await ingest(index, mended, {}, true)).written, 1);
    await ingest(index, DOCUMENTS.slice(1), {});
    await assertTwins(index);
  });

  it("have passages of their text where each is a document", async () => {
    const index = "html-passages";
    const page = { id: "a", title: "<i>A</i> title", body: "<p>One</p><script>no</script>two" };
    await ingest(index, [page], {
      "ingest.id_field": "id",
      "ingest.text_fields": "title,body",
      "ingest.html_fields": "title,body",
      "ingest.passages": "documents",
    });
    const stored = await contentOf(suite.cluster, index);
    assert.deepEqual(stored.get("a#0"), { ...page, body: "One\ntwo" });
  });

  it("are read by a reindexing and its verification; a run without them encodes again what differs", async () => {
    await fill(suite.cluster, "html-source", DOCUMENTS);
    const config = { ...runs.config, ...configFields() };
    const what = { from: ["html-source"], alias: "html-search" };
    const first = await runs.run(what, { config });
    assert.deepEqual(
      [first.state, first.encoded, first.verification?.ok, first.verification?.differing],
      ["done", 4, true, 0],
    );
    await assertTwins("html-search-v1");
    const without = await runs.run(what, { config: { ...config, "ingest.html_fields": [] } });
    assert.deepEqual([without.state, without.encoded, without.reused], ["done", 2, 2]);
    const vectors = await vectorsOf("html-search-v2");
    assert.notDeepEqual(vectors.get("harbour"), vectors.get("harbour-twin"));
  });

  it("are read in place, and refused where an index that is followed has others", async () => {
    await fill(suite.cluster, "html-followed", DOCUMENTS);
    const follow = (html_fields: readonly string[]) =>
      followIndex({
        config: { ...runs.config, ...configFields(), "ingest.html_fields": [...html_fields] },
        cluster: suite.cluster,
        encoder: suite.encoder,
        index: "html-followed",
        once: true,
        signal: new AbortController().signal,
      });
    await assert.rejects(follow(["title"]), { code: "config_invalid" });
    assert.equal((await follow(["body"])).encoded, 4);
    await assertTwins("html-followed");
    assert.equal((await follow([])).encoded, 0, "the index says it");
    await assert.rejects(follow(["title"]), { code: "index_invalid" });
  });

  it("are named by --html-fields", async () => {
    const file = suite.write("command.ndjson", DOCUMENTS);
    const flags = ["--id-field", "id", "--text-fields", "body", "--html-fields", "body"];
    const command = ["ingest", file, "--index", "html-command", ...flags];
    const { code, err } = await runCsplade(suite.folder, command, environmentOf(configOf({})));
    assert.equal(code, 0, err);
    await assertTwins("html-command");
  });

  function configFields() {
    return { "ingest.text_fields": ["body"], "ingest.html_fields": ["body"] };
  }
});
