import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { pathOf } from "../../../src/cluster/request.js";
import {
  assertCopied,
  behind,
  contentOf,
  deadLettersOf,
  fill,
  testDocuments,
} from "../../support/reindexing.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";

describe("reindex", function () {
  this.timeout(300_000);
  let suite: ReindexSuite;
  let folder: string;

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-reindex-"));
    suite = await openReindexSuite("rx-");
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });

  it("leaves documents of low quality without a vector, counts them, and verifies the rest", async () => {
    const stub = { id: "stub", title: "", text: "Back to top" };
    const long = testDocuments(40).map((each) => ({
      ...each,
      text: `${String(each.text)} The river rises in the mountains of the north, runs past seven small towns and reaches the sea in a wide delta full of birds.`,
    }));
    await fill(suite.cluster, "rx-quality", [...long, stub]);
    const judged = { ...suite.config, "ingest.min_quality": 0.4 };
    const first = await suite.run(
      { from: ["rx-quality"], alias: "rx-quality-search" },
      { config: judged },
    );
    assert.deepEqual(
      [first.state, first.written, first.encoded, first.low_quality, first.dead_letters],
      ["done", 41, 40, 1, 0],
    );
    const made = await contentOf(suite.cluster, "rx-quality-search-v1", { vectors: true });
    assert.deepEqual(made.get("stub")?.csplade, {});
    assert.equal(made.get("stub")?.text, "Back to top");
    // Without the threshold it is encoded, and only it: the others' vectors are taken over.
    const second = await suite.run({ from: ["rx-quality"], alias: "rx-quality-search" });
    assert.deepEqual([second.encoded, second.reused, second.low_quality], [1, 40, 0]);
  });

  it("copies every document once, moves the alias, and takes vectors over the next time", async () => {
    await suite.cluster.demand(
      {
        method: "PUT",
        path: "/rx-plain",
        body: {
          settings: { index: { number_of_shards: 2 } },
          mappings: { properties: { round: { type: "short" }, text: { type: "text" } } },
        },
      },
      "Creating the source",
    );
    await fill(suite.cluster, "rx-plain", testDocuments(1_200));
    // Overwritten and deleted documents leave gaps in the sequence numbers.
    await fill(suite.cluster, "rx-plain", testDocuments(300, 1, 100));
    await suite.cluster.demand({ method: "DELETE", path: "/rx-plain/_doc/d5" }, "Deleting");

    const first = await suite.run({ from: ["rx-plain"], alias: "rx-plain-search" });
    assert.deepEqual(
      [first.state, first.read, first.written, first.encoded, first.dead_letters],
      ["done", 1_199, 1_199, 1_199, 0],
    );
    assert.deepEqual(await behind(suite.cluster, "rx-plain-search"), ["rx-plain-search-v1"]);
    await assertCopied(suite.cluster, "rx-plain", "rx-plain-search-v1");
    const mapping = (await suite.cluster.demand(
      { method: "GET", path: "/rx-plain-search-v1/_mapping" },
      "Looking at the mapping",
    )) as Record<string, { mappings: { properties: Record<string, { type: string }> } }>;
    assert.equal(mapping["rx-plain-search-v1"]?.mappings.properties.round?.type, "short");

    // Other fields change, the text does not: no document needs the model again.
    const touched = testDocuments(1, 1, 150).map((each) => ({ ...each, price: 7 }));
    await fill(suite.cluster, "rx-plain", touched);
    const second = await suite.run({ from: ["rx-plain"], alias: "rx-plain-search" });
    assert.deepEqual([second.written, second.encoded, second.reused], [1_199, 0, 1_199]);
    assert.deepEqual(second.previous, ["rx-plain-search-v1"]);
    assert.deepEqual(await behind(suite.cluster, "rx-plain-search"), ["rx-plain-search-v2"]);
    await assertCopied(suite.cluster, "rx-plain", "rx-plain-search-v2");
    const [before, after] = await Promise.all(
      ["rx-plain-search-v1", "rx-plain-search-v2"].map((index) =>
        contentOf(suite.cluster, index, { vectors: true }),
      ),
    );
    assert.deepEqual(after?.get("d700")?.csplade, before?.get("d700")?.csplade);
  });

  it("copies files in byte ranges, gzip too; the last line of an id wins", async () => {
    const lines = testDocuments(900).map(({ id, ...body }) => JSON.stringify({ _id: id, ...body }));
    const plain = path.join(folder, "plain.ndjson");
    // No newline at the end, blank lines inside.
    writeFileSync(plain, lines.slice(0, 600).join("\n\n"));
    const packed = path.join(folder, "packed.ndjson.gz");
    const again = JSON.stringify({ _id: "d3", text: "The newer text of document 3." });
    writeFileSync(packed, gzipSync([...lines.slice(600), again].join("\n") + "\n"));
    const summary = await suite.run(
      { from: [plain, packed], alias: "rx-files-search" },
      { config: { ...suite.config, "reindex.slice_documents": 10 } },
    );
    assert.deepEqual([summary.state, summary.read, summary.dead_letters], ["done", 901, 0]);
    assert.equal(summary.written + summary.superseded, 901);
    const content = await contentOf(suite.cluster, summary.target);
    assert.equal(content.size, 900);
    assert.equal(content.get("d3")?.text, "The newer text of document 3.");
  });

  it("buries what cannot be taken with a reason, and takes the rest", async () => {
    await suite.cluster.demand(
      {
        method: "PUT",
        path: "/rx-bad",
        body: { mappings: { properties: { n: { type: "integer", ignore_malformed: false } } } },
      },
      "Creating the source",
    );
    await fill(suite.cluster, "rx-bad", [
      ...testDocuments(50),
      { id: "blank", text: "  " },
      { id: "textless", other: 1 },
      { id: "number", title: 42 },
      { id: "control", text: "nul \u0000 bell \u0007 escape \u001b" },
      { id: "surrogate", text: "half a character \ud83d and a whole one \u{1f600}" },
      { id: "long", text: "x ".repeat(5_000_000) },
      { id: "x".repeat(512), text: "the longest id there is" },
    ]);
    const summary = await suite.run(
      { from: ["rx-bad"], alias: "rx-bad-search" },
      { config: { ...suite.config, "reindex.max_dead_letters": 0.1 } },
    );
    assert.deepEqual([summary.state, summary.read, summary.written], ["done", 57, 54]);
    assert.deepEqual([summary.truncated, summary.truncated_ids], [1, ["long"]]);
    const letters = await deadLettersOf(suite.cluster, summary.run);
    assert.deepEqual([...letters].map(([id, { code }]) => [id, code]).sort(), [
      ["blank", "document_no_text"],
      ["number", "document_wrong_type"],
      ["textless", "document_no_text"],
    ]);
    assert.ok(![...letters.values()].some(({ reason }) => reason.includes("nul")));
    await assertCopied(suite.cluster, "rx-bad", summary.target, ["blank", "number", "textless"]);
  });

  it("buries ids of 600 bytes, malformed lines and documents that the mapping refuses", async () => {
    const file = path.join(folder, "bad.ndjson");
    writeFileSync(
      file,
      [
        JSON.stringify({ _id: "good", text: "a good one", n: 1 }),
        JSON.stringify({ _id: "y".repeat(600), text: "an id of 600 bytes" }),
        "{broken",
        JSON.stringify({ _id: "clash", text: "no number", n: "not a number" }),
      ].join("\n"),
    );
    await suite.cluster.demand(
      {
        method: "PUT",
        path: "/rx-clash-v1",
        body: { mappings: { properties: { n: { type: "integer" } } } },
      },
      "Creating the target beforehand",
    );
    const summary = await suite.run(
      { from: [file], alias: "rx-clash", target: "rx-clash-v1" },
      { config: { ...suite.config, "reindex.max_dead_letters": 0.75 } },
    );
    assert.deepEqual([summary.read, summary.written, summary.dead_letters], [4, 1, 3]);
    assert.equal(
      summary.failures.reduce((sum, { count }) => sum + count, 0),
      3,
    );
    const malformed = summary.failures.find(({ code }) => code === "document_malformed");
    assert.equal(malformed?.count, 1);
    assert.match(malformed.example.reason, /JSON/);
    const letters = [...(await deadLettersOf(suite.cluster, summary.run)).values()];
    const codes = letters.map(({ code }) => code);
    // The suite.cluster quotes the value it could not parse; the letter does not.
    assert.ok(!letters.some(({ reason }) => reason.includes("not a number")));
    assert.ok(letters.some(({ reason }) => reason.includes("failed to parse field [n]")));
    assert.deepEqual(codes.sort(), [
      "document_malformed",
      "document_rejected",
      "document_rejected",
    ]);
  });

  it("refuses wrong text fields, an index in the alias's place and a target of another model", async () => {
    await fill(suite.cluster, "rx-wrong", testDocuments(3));
    await suite.cluster.demand({ method: "POST", path: "/rx-wrong/_refresh" }, "Refreshing");
    await assert.rejects(
      suite.run(
        { from: ["rx-wrong"], alias: "rx-wrong-search" },
        { config: { ...suite.config, "ingest.text_fields": ["headline"] } },
      ),
      (error: Error & { code?: string; hint?: string }) =>
        error.code === "usage" && error.hint?.includes("text") === true,
    );
    await assert.rejects(suite.run({ from: ["rx-wrong"], alias: "rx-wrong" }), {
      code: "index_invalid",
    });
    await assert.rejects(suite.run({ from: ["rx-none"], alias: "rx-wrong-search" }), {
      code: "index_not_found",
    });
    const meta = {
      csplade: {
        format: 1,
        fingerprint: "0123456789abcdef",
        model: "another",
        variant: "bi",
        vocabulary_size: 10,
        field: "csplade",
        passages: "merged",
        text_fields: ["text"],
        title_field: "title",
        created_by: "test",
      },
    };
    await suite.cluster.demand(
      { method: "PUT", path: pathOf("rx-other"), body: { mappings: { _meta: meta } } },
      "Creating an index of another model",
    );
    await fill(suite.cluster, "rx-other", testDocuments(1));
    await assert.rejects(
      suite.run({ from: ["rx-wrong"], alias: "rx-wrong-search", target: "rx-other" }),
      (error: Error & { code?: string }) =>
        error.code === "model_mismatch" && error.message.includes("0123456789abcdef"),
    );
  });
});
