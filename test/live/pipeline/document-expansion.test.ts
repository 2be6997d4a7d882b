/** Documents of which what the model adds counts in part, whoever brings them into an index. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { SettingName } from "../../../src/config/settings.js";
import { readIndexModel } from "../../../src/index/csplade-index.js";
import { followIndex } from "../../../src/pipeline/followed-documents.js";
import { environmentOf, runCsplade } from "../../support/csplade-command.js";
import { openIngestSuite, type IngestSuite } from "../../support/ingesting.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";
import { contentOf, fill } from "../../support/reindexing.js";
import { testServers } from "../../support/servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const DOCUMENTS = [
  { id: "fear", body: "a morbid fear of being closed in a confined space" },
  { id: "tower", body: "a tall building that is used as a lighthouse for ships" },
  {
    id: "long",
    body: "a machine that is worked by the force of the wind near a coast. ".repeat(40),
  },
];
const FIELDS = { "ingest.id_field": "id", "ingest.text_fields": ["body"] };

type Vectors = ReadonlyMap<string, Readonly<Record<string, number>>>;

describe("the expansion of documents", function () {
  this.timeout(240_000);
  let suite: IngestSuite;
  let runs: ReindexSuite;
  let all: Vectors;
  let own: ReadonlyMap<string, ReadonlySet<string>>;

  before(async () => {
    suite = await openIngestSuite("expansion-");
    runs = await openReindexSuite("expansion-");
    await ingest("expansion-all", {});
    all = await vectorsOf("expansion-all");
    const literals = await suite.encoder.literals(DOCUMENTS.map(({ body }) => body));
    own = new Map(
      DOCUMENTS.map(({ id }, i) => [id, new Set(Array.from(literals[i]!.ids, String))]),
    );
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
      ...FIELDS,
      ...flags,
    });
  const ingest = (
    index: string,
    flags: Partial<Record<SettingName, unknown>>,
    lines: readonly object[] = DOCUMENTS,
    fromDeadLetters = false,
  ) =>
    suite.ingest(index, [suite.write(`${index}.ndjson`, lines)], {
      config: configOf(flags),
      fromDeadLetters,
    });
  async function vectorsOf(index: string): Promise<Vectors> {
    const stored = await contentOf(suite.cluster, index, { vectors: true });
    return new Map([...stored].map(([id, { csplade }]) => [id, csplade as Record<string, number>]));
  }

  async function assertExpanded(index: string, factor: number): Promise<void> {
    const vectors = await vectorsOf(index);
    assert.equal(vectors.size, DOCUMENTS.length);
    let added = 0;
    for (const [id, whole] of all) {
      const now = vectors.get(id)!;
      for (const [term, weight] of Object.entries(whole)) {
        const stands = own.get(id)!.has(term);
        if (!stands) added += 1;
        const expected = stands ? weight : weight * factor;
        const found = now[term] ?? 0;
        assert.ok(Math.abs(found - expected) <= expected / 200, `${id} ${term}: ${found}`);
        assert.equal(term in now, expected > 0);
      }
    }
    assert.ok(added > 10, `the model adds terms: ${added}`);
    const { expansion = 1 } = await readIndexModel(suite.cluster, index);
    assert.equal(expansion, factor);
  }

  it("is a factor of the added terms that an ingest stores, from what stands in a text to all of it", async () => {
    await assertExpanded("expansion-all", 1);
    for (const [index, factor] of [
      ["expansion-none", "none"],
      ["expansion-half", 0.5],
    ] as const) {
      await ingest(index, { "document.expansion": factor });
      await assertExpanded(index, factor === "none" ? 0 : factor);
    }
  });

  it("is the index's for a command that leaves it out, and refused where a command has another", async () => {
    const index = "expansion-recorded";
    await ingest(index, { "document.expansion": 0.5 });
    assert.equal((await ingest(index, {})).skipped, DOCUMENTS.length);
    await assert.rejects(ingest(index, { "document.expansion": 0 }), {
      code: "index_invalid",
      message: /document.expansion: the index has "0.5", this command "0"/,
    });
    await assert.rejects(ingest("expansion-all", { "document.expansion": 0.5 }), {
      code: "index_invalid",
      message: /document.expansion: the index has "1", this command "0.5"/,
    });
    await assertExpanded(index, 0.5);
  });

  it("is noted by dead letters, and used by a replay", async () => {
    const index = "expansion-replayed";
    const bad = { ...DOCUMENTS[0], csplade: "a name of ours" };
    assert.equal((await ingest(index, { "document.expansion": 0 }, [bad])).failed, 1);
    const [letter = ""] = readFileSync(suite.lettersOf(index), "utf8").trim().split("\n");
    const mended = [JSON.parse(letter.replaceAll("csplade", "ours")) as object];
    assert.equal((await ingest(index, {}, mended, true)).written, 1);
    await ingest(index, {}, DOCUMENTS.slice(1));
    await assertExpanded(index, 0);
  });

  it("is kept by a reindexing and its verification; one with another encodes every document again", async () => {
    await fill(suite.cluster, "expansion-source", DOCUMENTS);
    const config = { ...runs.config, ...FIELDS, "ingest.text_fields": ["body"] };
    const what = { from: ["expansion-source"], alias: "expansion-search" };
    const half = { ...config, "document.expansion": 0.5 };
    const first = await runs.run(what, { config: half });
    assert.deepEqual(
      [first.state, first.encoded, first.verification?.ok, first.verification?.differing],
      ["done", 3, true, 0],
    );
    await assertExpanded("expansion-search-v1", 0.5);
    const again = await runs.run(what, { config: half });
    assert.deepEqual([again.state, again.encoded, again.reused], ["done", 0, 3]);
    const whole = await runs.run(what, { config });
    assert.deepEqual(
      [whole.state, whole.encoded, whole.reused, whole.verification?.ok],
      ["done", 3, 0, true],
    );
    await assertExpanded("expansion-search-v3", 1);
  });

  it("is kept in place, and refused where an index that is followed has another", async () => {
    await fill(suite.cluster, "expansion-followed", DOCUMENTS);
    const follow = (expansion: number) =>
      followIndex({
        config: { ...runs.config, "ingest.text_fields": ["body"], "document.expansion": expansion },
        cluster: suite.cluster,
        encoder: suite.encoder,
        index: "expansion-followed",
        once: true,
        signal: new AbortController().signal,
      });
    assert.equal((await follow(0)).encoded, 3);
    await assertExpanded("expansion-followed", 0);
    assert.equal((await follow(1)).encoded, 0, "the index says it");
    await assert.rejects(follow(0.5), { code: "index_invalid" });
  });

  it("is given by --expansion none", async () => {
    const file = suite.write("command.ndjson", DOCUMENTS);
    const flags = ["--id-field", "id", "--text-fields", "body", "--expansion", "none"];
    const command = ["ingest", file, "--index", "expansion-command", ...flags];
    const { code, err } = await runCsplade(suite.folder, command, environmentOf(configOf({})));
    assert.equal(code, 0, err);
    await assertExpanded("expansion-command", 0);
  });
});
