import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathOf } from "../../../src/cluster/request.js";
import { deleteIndex } from "../../../src/index/csplade-index.js";
import { verifyRun } from "../../../src/reindex/verify-run.js";
import { whileWriting } from "../../support/ingesting.js";
import { environmentOf, runCsplade } from "../../support/csplade-command.js";
import { behind, contentOf, fill, testDocuments } from "../../support/reindexing.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";

describe("the verification of a reindexing", function () {
  this.timeout(300_000);
  let suite: ReindexSuite;
  let folder: string;
  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-verification-"));
    suite = await openReindexSuite("vf-");
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });

  const demand = (method: "GET" | "POST" | "PUT", at: string, body: object = {}) =>
    suite.cluster.demand({ method, path: at, body }, `${method} ${at}`);

  /** An index behind an alias, whose text field holds a number in some documents. */
  async function withNumbers(index: string, numbers: number): Promise<void> {
    await demand("PUT", `/${index}`, {
      aliases: { [`${index}-search`]: {} },
      mappings: { properties: { text: { type: "text" } } },
    });
    const documents = testDocuments(200).map((each, i) =>
      i < numbers ? { ...each, text: i } : each,
    );
    await fill(suite.cluster, index, documents);
  }

  it("leaves the alias when 5 % of the documents are dead letters, says so, and moves it when that many may be", async () => {
    await withNumbers("vf-many", 10);
    const what = { from: ["vf-many"], alias: "vf-many-search" };
    const args = ["reindex", "--from", "vf-many", "--to", "vf-many-search"];
    const environment = environmentOf(suite.config);
    const refused = await runCsplade(folder, args, environment);
    assert.equal(refused.code, 5, refused.err);
    assert.match(refused.err, /10 of 200 documents \(5 %\).*at most 1 % may be/);
    assert.match(refused.err, /The alias vf-many-search stays where it is/);
    assert.match(refused.err, /190 in the new index, 10 dead letters/);
    assert.deepEqual(await behind(suite.cluster, "vf-many-search"), ["vf-many"]);
    const [record] = await suite.store.listRuns({ alias: "vf-many-search" });
    assert.equal(record?.state, "failed");
    assert.match(record.message ?? "", /10 of 200 documents/);
    const status = await runCsplade(folder, ["status", "vf-many-search", "--once"], environment);
    assert.match(status.out, /Verification failed: 200 in the source, 190 in the new index/);

    await assert.rejects(suite.run(what, { verify: false }), { code: "too_many_dead_letters" });
    assert.deepEqual(await behind(suite.cluster, "vf-many-search"), ["vf-many"]);
    const allowed = await runCsplade(folder, [...args, "--max-dead-letters", "0.05"], environment);
    assert.equal(allowed.code, 3, allowed.err);
    assert.match(allowed.out, /Verification passed: 200 in the source, 190 in the new index/);
    assert.match(allowed.out, /190 of the source looked up|200 of the source looked up: 0 missing/);
    assert.deepEqual(await behind(suite.cluster, "vf-many-search"), ["vf-many-search-v1"]);
  });

  it("moves the alias when 0.5 % of the documents are dead letters", async () => {
    await withNumbers("vf-few", 1);
    const summary = await suite.run({ from: ["vf-few"], alias: "vf-few-search" });
    assert.deepEqual([summary.state, summary.dead_letters], ["done", 1]);
    assert.deepEqual(await behind(suite.cluster, "vf-few-search"), ["vf-few-search-v1"]);
  });

  it("leaves the alias when the text field holds numbers in every document", async () => {
    await withNumbers("vf-all", 200);
    await assert.rejects(suite.run({ from: ["vf-all"], alias: "vf-all-search" }), {
      code: "too_many_dead_letters",
    });
    assert.deepEqual(await behind(suite.cluster, "vf-all-search"), ["vf-all"]);
  });

  /** An index of 60 documents behind an alias, and a folder that judges eight questions for it. */
  async function withJudgements(index: string): Promise<string> {
    await demand("PUT", `/${index}`, { aliases: { [`${index}-search`]: {} } });
    await fill(suite.cluster, index, testDocuments(60));
    const judged = path.join(folder, index);
    mkdirSync(path.join(judged, "qrels"), { recursive: true });
    const documents = testDocuments(60).slice(0, 8);
    const ids = [...(await contentOf(suite.cluster, index)).keys()].slice(0, 8);
    const queries = documents.map(({ text }, i) => JSON.stringify({ _id: `q${i}`, text }));
    writeFileSync(path.join(judged, "queries.jsonl"), queries.join("\n"));
    const qrels = ids.map((id, i) => `q${i}\t${id}\t1`);
    writeFileSync(path.join(judged, "qrels", "test.tsv"), qrels.join("\n"));
    return judged;
  }

  it("is followed by judged questions: the alias stays where the new index answers them too badly", async () => {
    const judged = await withJudgements("vf-judged");
    const args = ["reindex", "--from", "vf-judged", "--to", "vf-judged-search"];
    const environment = environmentOf(suite.config);
    const alone = await runCsplade(folder, [...args, "--require", "ndcg@10>=0.1"], environment);
    assert.equal(alone.code, 2, alone.err);
    const gated = [...args, "--judgements", judged];
    const refused = await runCsplade(
      folder,
      [...gated, "--require", "precision@10>=0.9"],
      environment,
    );
    assert.equal(refused.code, 5, refused.err);
    assert.match(refused.err, /precision@10 is 0\.\d{4}; at least 0\.9 is required/);
    assert.deepEqual(await behind(suite.cluster, "vf-judged-search"), ["vf-judged"]);
    const [record] = await suite.store.listRuns({ alias: "vf-judged-search" });
    assert.equal(record?.state, "failed");
    const taken = await runCsplade(folder, [...gated, "--require", "recall@100>=0.1"], environment);
    assert.equal(taken.code, 0, taken.err);
    assert.match(taken.err, /recall@100 is [01]\.\d{4}; at least 0\.1 is required/);
    assert.deepEqual(await behind(suite.cluster, "vf-judged-search"), ["vf-judged-search-v1"]);
  });

  it("keeps what judges in the run's record: resumed by its name alone, it is judged again, and not without the folder", async () => {
    const judged = await withJudgements("vf-kept");
    const environment = environmentOf(suite.config);
    const begun = ["reindex", "--from", "vf-kept", "--to", "vf-kept-search"];
    // A path that is relative to where the command was typed.
    const gate = ["--judgements", path.basename(judged), "--require", "precision@10>=0.9"];
    const refused = await runCsplade(folder, [...begun, ...gate], environment);
    assert.equal(refused.code, 5, refused.err);
    const [record] = await suite.store.listRuns({ alias: "vf-kept-search" });
    const resume = ["reindex", "--resume", record?.run ?? ""];
    const stays = async (args: readonly string[], code: number, said: RegExp) => {
      const end = await runCsplade(os.tmpdir(), args, environment);
      assert.equal(end.code, code, end.err);
      assert.match(end.err, said);
      assert.deepEqual(await behind(suite.cluster, "vf-kept-search"), ["vf-kept"]);
    };
    const tooLow = /precision@10 is 0\.\d{4}; at least 0\.9 is required/;
    await stays(resume, 5, tooLow);
    await stays([...resume, "--no-workers"], 5, tooLow);
    await stays(begun, 5, tooLow);
    renameSync(judged, `${judged}-away`);
    await stays(resume, 1, /is to be judged by .*vf-kept\b.*--no-judgements/s);
    await assert.rejects(suite.run({ resume: record?.run ?? "" }), { code: "usage" });
    // Demands of one's own take the place of those that are kept, and are kept.
    const away = ["--judgements", `${judged}-away`, "--require", "precision@10>=0.8"];
    await stays([...resume, ...away], 5, /at least 0\.8 is required/);
    await stays(resume, 5, /at least 0\.8 is required/);
    const ungated = await runCsplade(folder, [...resume, "--no-judgements"], environment);
    assert.equal(ungated.code, 0, ungated.err);
    assert.deepEqual(await behind(suite.cluster, "vf-kept-search"), ["vf-kept-search-v1"]);
  });

  /** A reindexing under way of 3,000 documents behind an alias. */
  async function underWay(index: string) {
    await demand("PUT", `/${index}`, { aliases: { [`${index}-search`]: {} } });
    await fill(suite.cluster, index, testDocuments(3_000));
    const what = { from: [index], alias: `${index}-search`, documents_per_second: 1_500 };
    const running = suite.run(what);
    running.catch(() => {});
    const target = `${index}-search-v1`;
    await whileWriting(suite.cluster, target);
    return { running, target };
  }

  it("finds every document and no dead letter after the new index took no writes for a while and lost its guard", async () => {
    const { running, target } = await underWay("vf-blocked");
    const block = (value: true | null) =>
      demand("PUT", `/${target}/_settings`, { index: { "blocks.write": value } });
    await block(true);
    await sleep(4_000);
    await block(null);
    const guard = `/_ingest/pipeline/csplade-guard-${suite.encoder.manifest.fingerprint}`;
    await suite.cluster.send({ method: "DELETE", path: guard });
    const summary = await running;
    assert.deepEqual([summary.dead_letters, summary.written], [0, 3_000]);
    assert.deepEqual(await behind(suite.cluster, "vf-blocked-search"), [target]);
    assert.equal((await contentOf(suite.cluster, target)).size, 3_000);
  });

  it("is not reached, and the alias stays, when the new index is deleted under way", async () => {
    const { running, target } = await underWay("vf-deleted");
    assert.equal(await deleteIndex(suite.cluster, target), true);
    await assert.rejects(running, /index_not_found|no such index|There is no index/);
    assert.deepEqual(await behind(suite.cluster, "vf-deleted-search"), ["vf-deleted"]);
    const there = await suite.cluster.send({ method: "HEAD", path: `/${target}` });
    assert.equal(there.status, 404, "no write makes it anew");
  });

  it("finds altered, older and missing documents in every shard, also beside empty ones", async () => {
    await demand("PUT", "/vf-shards", { settings: { index: { number_of_shards: 3 } } });
    // One routing: all documents are in one shard and the others are empty.
    const lines = testDocuments(60).map(({ id, ...body }) => {
      const source = JSON.stringify(body).replace("}", ',"price":1.0}');
      return `${JSON.stringify({ index: { _id: id, routing: "one" } })}\n${source}\n`;
    });
    await demandBulk("vf-shards", lines.join(""));
    const summary = await suite.run({ from: ["vf-shards"], alias: "vf-shards-search" });
    assert.equal(summary.verification?.source_sampled, 60);
    const { record } = await suite.store.readRun(summary.run);
    const context = { ...suite, sample: 100 };
    assert.deepEqual((await verifyRun(context, record)).problems, []);

    await tamper(summary.target, "d3", (text) => text.replace('"price":1.0', '"price":1'));
    const altered = await verifyRun(context, record);
    assert.deepEqual([altered.ok, altered.altered, altered.behind], [false, 1, 0]);
    assert.match(altered.problems.join(" "), /1 have another content .*price of d3/);
    const at = pathOf(summary.target, "_doc", "d4");
    const query = { routing: "one" };
    await suite.cluster.demand({ method: "DELETE", path: at, query }, "Losing");
    assert.equal((await verifyRun(context, record)).behind, 1);
  });

  it("finds altered documents of a reindexing from files", async () => {
    const file = path.join(folder, "files.ndjson");
    const texts = testDocuments(300).map(({ id, ...body }) => JSON.stringify({ _id: id, ...body }));
    // The last line of an id wins, and the first one is no fault.
    writeFileSync(file, [...texts, texts[0]?.replace("round 0", "round 9")].join("\n"));
    const config = { ...suite.config, "reindex.slice_documents": 20 };
    const summary = await suite.run({ from: [file], alias: "vf-files-search" }, { config });
    assert.ok((summary.verification?.source_sampled ?? 0) > 50);
    assert.deepEqual(summary.verification?.problems, []);
    const { record } = await suite.store.readRun(summary.run);
    await tamper(summary.target, "d1", (text) => text.replace("round 0", "round 1"));
    const { problems } = await verifyRun({ ...suite, sample: 100 }, record);
    assert.match(problems.join(" "), /text of d1/);
  });

  async function demandBulk(index: string, body: string): Promise<void> {
    const request = { method: "POST", path: pathOf(index, "_bulk"), body } as const;
    const answer = await suite.cluster.demand(request, "Writing");
    assert.equal((answer as { errors: boolean }).errors, false, JSON.stringify(answer));
  }

  /** Changes a document of a new index as a fault of the copying would have: its version stays. */
  async function tamper(index: string, id: string, change: (text: string) => string) {
    const url = `${suite.config["opensearch.url"]}${pathOf(index, "_doc", id)}?routing=one`;
    const read = await (await fetch(url)).text();
    const version = /"_version":(\d+)/.exec(read)?.[1] ?? assert.fail(read);
    const source = /"_source":(.*)\}$/s.exec(read)?.[1] ?? assert.fail(read);
    const routing = read.includes('"_routing"') ? { routing: "one" } : {};
    const head = { _id: id, version: Number(version), version_type: "external_gte", ...routing };
    const line = JSON.stringify({ index: { ...head, pipeline: "_none" } });
    await demandBulk(index, `${line}\n${change(source)}\n`);
  }
});
