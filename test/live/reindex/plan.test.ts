import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { shardsOf } from "../../../src/reindex/target-shards.js";
import { environmentOf, runCsplade } from "../../support/csplade-command.js";
import { assertCopied, fill, testDocuments } from "../../support/reindexing.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";

describe("the plan of a reindexing", function () {
  this.timeout(300_000);
  let suite: ReindexSuite;
  let folder: string;
  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-plan-"));
    suite = await openReindexSuite("pl-");
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });

  const put = (at: string, body: object) =>
    suite.cluster.demand({ method: "PUT", path: at, body }, `Creating ${at}`);

  it("shows the shards, settings, _meta and alias properties that are taken over, and takes --shards", async () => {
    await put("/pl-shape", {
      settings: { index: { number_of_shards: 3, number_of_routing_shards: 9, max_ngram_diff: 5 } },
      mappings: { _meta: { owner: "the catalogue team" }, properties: { text: { type: "text" } } },
      aliases: { "pl-shape-search": { filter: { term: { tenant: "a" } }, is_write_index: true } },
    });
    await fill(suite.cluster, "pl-shape", testDocuments(30));
    const args = ["reindex", "--from", "pl-shape", "--to", "pl-shape-search"];
    const environment = environmentOf(suite.config);
    const plan = await runCsplade(folder, [...args, "--dry-run"], environment);
    assert.equal(plan.code, 0, plan.err);
    assert.match(plan.out, /New index: 3 shards/);
    assert.match(plan.out, /settings of the source: .*max_ngram_diff: "5"/);
    assert.match(plan.out, /_meta of the source: owner: "the catalogue team"/);
    assert.match(plan.out, /alias keeps what it has: filter: \{"term":\{"tenant":"a"\}\}/);
    const more = [...args, "--dry-run", "--json", "--shards", "2"];
    const { shape } = JSON.parse((await runCsplade(folder, more, environment)).out) as {
      shape: { shards: number; settings: object; _meta: object; alias: object };
    };
    assert.equal(shape.shards, 2);
    assert.deepEqual(shape._meta, { owner: "the catalogue team" });
    assert.deepEqual(shape.alias, {
      filter: { term: { tenant: "a" } },
      is_write_index: true,
    });
    const done = await runCsplade(folder, [...args, "--shards", "2"], environment);
    assert.equal(done.code, 0, done.err);
    assert.equal(await shardsOf(suite.cluster, "pl-shape-search-v1"), 2);
    await assertCopied(suite.cluster, "pl-shape", "pl-shape-search-v1");
    const wrong = await runCsplade(folder, [...args, "--shards", "1.5"], environment);
    assert.equal(wrong.code, 2, wrong.err);
  });

  it("is refused where _source of the source is not what was written to it", async () => {
    const text = { type: "text" };
    const partial: [name: string, body: object, why: RegExp][] = [
      ["excludes", { mappings: { _source: { excludes: ["secret"] } } }, /excludes: secret/],
      ["includes", { mappings: { _source: { includes: ["text"] } } }, /includes: text/],
      ["off", { mappings: { _source: { enabled: false } } }, /keeps no _source/],
      [
        "copied",
        { mappings: { properties: { name: { type: "text", copy_to: "text" }, text } } },
        /filled by copy_to from name/,
      ],
      ["derived", { settings: { index: { derived_source: { enabled: true } } } }, /derived_source/],
    ];
    for (const [name, body, why] of partial) {
      await put(`/pl-${name}`, { mappings: { properties: { text } }, ...body });
      const document = { id: "a", name: "a name", secret: "a secret" };
      const own = name === "copied" ? document : { ...document, text: "a text" };
      await fill(suite.cluster, `pl-${name}`, [own]);
      await suite.cluster.demand({ method: "POST", path: `/pl-${name}/_refresh` }, "Refreshing");
      const run = suite.run({ from: [`pl-${name}`], alias: `pl-${name}-search` });
      await assert.rejects(run, (error: Error & { code?: string }) => {
        assert.equal(error.code, "index_invalid", `${name}: ${error.message}`);
        assert.match(error.message, why);
        return true;
      });
    }
  });
});
