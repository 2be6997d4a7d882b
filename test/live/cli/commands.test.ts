import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { runCsplade, startCsplade, type CspladeEnd } from "../../support/csplade-command.js";
import { findFreePort } from "../../../src/servers/port.js";
import { testServers } from "../../support/servers.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";

interface SearchJson {
  readonly hits: readonly {
    readonly id: string;
    readonly score: number;
    readonly source: { readonly text: string };
    readonly spans: { readonly text?: readonly { start: number; end: number }[] };
    readonly terms: readonly { term: string; literal: boolean; contribution: number }[];
  }[];
}

describe("the csplade program", function () {
  this.timeout(120_000);
  let folder: string;
  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-cli-"));
  });
  after(() => rmSync(folder, { recursive: true }));

  const start = (args: readonly string[], env?: NodeJS.ProcessEnv) =>
    startCsplade(folder, args, env);
  const run = (args: readonly string[], env?: NodeJS.ProcessEnv, input?: string) =>
    runCsplade(folder, args, env, input);

  const documents = [
    {
      _id: "1",
      title: "claustrophobia",
      text: "a morbid fear of being closed in a confined space",
    },
    { _id: "2", title: "insomnia", text: "an inability to sleep", lang: "en" },
    { _id: "3", title: "astronomer", text: "a physicist who studies astronomy", lang: "en" },
  ];
  const ndjson = documents.map((each) => JSON.stringify(each)).join("\n");

  it("ingests a file, gzip and standard input, and exits with 3 and a dead letter when one failed", async () => {
    const file = path.join(folder, "docs.ndjson.gz");
    writeFileSync(file, gzipSync(`${ndjson}\n{broken`));
    const first = await run(["ingest", file, "--index", "cli-docs", "--json"]);
    assert.equal(first.code, 3, first.err);
    const summary = JSON.parse(first.out) as {
      written: number;
      failed: number;
      dead_letters: string;
    };
    assert.deepEqual([summary.written, summary.failed], [3, 1]);
    assert.match(readFileSync(summary.dead_letters, "utf8"), /not JSON/);
    const again = await run(["ingest", "-", "--index", "cli-docs"], {}, ndjson);
    assert.equal(again.code, 0, again.err);
    assert.match(again.out, /3 read, 0 encoded, 0 written, 3 skipped \(unchanged\), 0 failed/);
  });

  it("finds the document that shares the question's words, with contributions that add up", async () => {
    const found = await run([
      "search",
      "--index",
      "cli-docs",
      "--json",
      "fear of a confined space",
    ]);
    assert.equal(found.code, 0, found.err);
    const { hits } = JSON.parse(found.out) as SearchJson;
    assert.equal(hits[0]?.id, "1");
    for (const hit of hits) {
      const sum = hit.terms.reduce((total, term) => total + term.contribution, 0);
      assert.ok(Math.abs(sum - hit.score) < 1e-4 * hit.score, `${sum} is not ${hit.score}`);
    }
    assert.ok(hits[0].terms.some((term) => term.literal));
  });

  it("prints with --dashboards a query that finds the same, to paste where csplade is not", async () => {
    const question = "fear of a confined space";
    const found = await run(["search", "--index", "cli-docs", "--json", question]);
    const { hits } = JSON.parse(found.out) as SearchJson;
    const printed = await run(["search", "--index", "cli-docs", "--dashboards", question]);
    assert.equal(printed.out.trim().split("\n").length, 1, printed.err);
    const answer = await fetch(`${testServers().opensearchUrl}/cli-docs/_search`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query: { bool: { must: [JSON.parse(printed.out)] } } }),
    });
    const body = (await answer.json()) as { hits: { hits: { _id: string; _score: number }[] } };
    assert.deepEqual(
      body.hits.hits.map((hit) => [hit._id, hit._score]),
      hits.map((hit) => [hit.id, hit.score]),
    );
  });

  it("searches in every mode, and shows where the literal words stand", async () => {
    for (const mode of ["plain", "two_phase", "hybrid"]) {
      const question = "fear of a confined space";
      const { code, out, err } = await run([
        "search",
        "--index",
        "cli-docs",
        "--mode",
        mode,
        "--json",
        question,
      ]);
      assert.equal(code, 0, err);
      const answer = JSON.parse(out) as SearchJson & { readonly mode: string };
      assert.equal(answer.mode, mode);
      const [hit] = answer.hits;
      assert.equal(hit?.id, "1");
      const { text } = hit.source;
      const marked = hit.spans.text?.map(({ start, end }) => text.slice(start, end)).join("") ?? "";
      assert.match(marked, /fear.*confined/);
      const people = await run(["search", "--index", "cli-docs", "--mode", mode, question]);
      assert.match(people.out, mode === "hybrid" ? /BM25 #1, CSPLADE #\d/ : /claustrophobia {2}\d/);
    }
    const unknown = await run([
      "search",
      "--index",
      "cli-docs",
      "--mode",
      "hybrid",
      "--options",
      '{"window":5}',
      "x",
    ]);
    assert.equal(unknown.code, 1);
    assert.match(unknown.err, /technique, rank_constant, weights/);
  });

  it("copies an index into an approximate one, searches it, and refuses what it cannot copy", async () => {
    const made = await run(["ann", "cli-docs", "--into", "cli-docs-ann", "--json"]);
    assert.equal(made.code, 0, made.err);
    const summary = JSON.parse(made.out) as { documents: number; unnumbered_ids: number };
    assert.deepEqual([summary.documents, summary.unnumbered_ids], [3, 0]);
    const question = "fear of a confined space";
    const search = ["search", "--index", "cli-docs-ann", "--json", question];
    const [plain, approximate] = [await run(search), await run([...search, "--mode", "ann"])];
    const scoresOf = ({ out }: CspladeEnd) =>
      (JSON.parse(out) as SearchJson).hits.map(({ id, score }) => [id, score]);
    assert.deepEqual(scoresOf(approximate), scoresOf(plain));
    const more = JSON.stringify({ _id: "4", title: "space", text: "a confined space, closed" });
    await run(["ingest", "-", "--index", "cli-docs-ann"], {}, more);
    const found = await run([...search, "--mode", "ann"]);
    assert.ok(scoresOf(found).some(([id]) => id === "4"));
    const none = await run(["search", "--index", "cli-docs", "--mode", "ann", question]);
    assert.match(none.err, /no field for approximate search[^]*csplade ann cli-docs/);
    const again = await run(["ann", "cli-docs", "--into", "cli-docs-ann"]);
    assert.equal(again.code, 1);
    assert.match(again.err, /already exists/);
  });

  it("sorts, skips, counts and cuts what it shows, for people and for programs", async () => {
    const lines = [
      '{"_id":"a","text":"a fear of heights","year":2001,"price":1.10}',
      '{"_id":"b","text":"a fear of spiders","year":1990,"price":9007199254740993}',
      '{"_id":"c","text":"no fear at all","year":2010,"price":3}',
    ];
    const filled = await run(["ingest", "-", "--index", "cli-shown"], {}, lines.join("\n"));
    assert.equal(filled.code, 0, filled.err);
    const search = (...flags: string[]) =>
      run(["search", "--index", "cli-shown", ...flags, "fear"]);

    const table = await search("--output", "table", "--sort", "year:desc", "--fields", "year,text");
    assert.deepEqual(
      table.out
        .split("\n")
        .slice(0, 4)
        .map((line) => line.trim().split(/\s+/).toSpliced(1, 1).join(" ")),
      [
        "rank id year text",
        "1 c 2010 no fear at all",
        "2 a 2001 a fear of heights",
        "3 b 1990 a fear of spiders",
      ],
    );

    const cut = await search(
      "--output",
      "ndjson",
      "--sort",
      "year",
      "--size",
      "1",
      "--fields",
      "price",
    );
    assert.equal(cut.out.trim().split("\n").length, 1);
    assert.ok(cut.out.includes('"source":{"price":9007199254740993}'), cut.out);

    const aggs = path.join(folder, "years.json");
    writeFileSync(aggs, '{"latest":{"max":{"field":"year"}}}');
    const counted = await search("--json", "--aggs", aggs, "--from", "2");
    const { hits, aggregations } = JSON.parse(counted.out) as SearchJson & {
      aggregations: { latest: { value: number } };
    };
    assert.deepEqual([hits.length, aggregations.latest.value], [1, 2010]);
    assert.match((await search("--aggs", aggs)).out, /"latest"/);
    const broken = await run(["search", "--index", "cli-shown", "--aggs", "-", "x"], {}, "[]");
    assert.match(broken.err, /The aggregations in - cannot be read[^]*hint:/);

    const ranked = await search("--output", "trec", "--query-id", "q7");
    const columns = ranked.out
      .trim()
      .split("\n")
      .map((line) => line.split(" "));
    assert.deepEqual(
      columns.map(([query, q0, , rank, , tag]) => [query, q0, rank, tag]),
      [
        ["q7", "Q0", "1", "csplade-plain"],
        ["q7", "Q0", "2", "csplade-plain"],
        ["q7", "Q0", "3", "csplade-plain"],
      ],
    );
  });

  it("opens the console of the gateway at a question, and says what starts one", async () => {
    const asked = ["search", "--index", "cli-shown", "--open", "fear of heights"];
    const none = await run(asked, { CSPLADE_GATEWAY_PORT: "1" });
    assert.match(none.err, /gateway at http:\/\/127\.0\.0\.1:1 does not answer[^]*csplade serve/);
    const port = await findFreePort();
    const gateway = start(["serve"], { CSPLADE_GATEWAY_PORT: String(port) });
    try {
      // No browser is to come up where tests run.
      const nowhere = { CSPLADE_GATEWAY_PORT: String(port), PATH: "", BROWSER: "none" };
      for (let i = 0; ; i++) {
        const opened = await run(asked, nowhere);
        if (opened.code === 0) {
          const url = `http://127.0.0.1:${port}/_csplade/console?question=fear+of+heights&index=cli-shown`;
          assert.equal(opened.out.trim(), url);
          assert.equal((await fetch(url)).status, 200);
          break;
        }
        assert.ok(i < 60, opened.err);
        await sleep(500);
      }
    } finally {
      gateway.kill("SIGTERM");
    }
  });

  it("narrows a search by a filter in the cluster's DSL, and refuses one that is none", async () => {
    const filter = '{"term":{"lang.keyword":"en"}}';
    const found = await run([
      "search",
      "--index",
      "cli-docs",
      "--filter",
      filter,
      "--json",
      "fear who studies",
    ]);
    const { hits } = JSON.parse(found.out) as SearchJson;
    assert.ok(hits.length > 0 && hits.every((hit) => hit.id !== "1"));
    const refused = await run(["search", "--index", "cli-docs", "--filter", "{", "x"]);
    assert.equal(refused.code, 2);
    const unknown = await run([
      "search",
      "--index",
      "cli-docs",
      "--filter",
      '{"tern":{}}',
      "--json",
      "fear",
    ]);
    assert.equal(unknown.code, 1);
    assert.match(unknown.out, /"code":"query_invalid"/);
  });

  it("says what is wrong and what to do: unknown index, model, server, setting, option", async () => {
    const noIndex = await run(["search", "--index", "cli-nothing", "x"]);
    assert.equal(noIndex.code, 1);
    assert.match(noIndex.err, /cli-nothing/);
    const noModel = await run(["encode", "x"], { CSPLADE_MODEL: "/nowhere" });
    assert.match(noModel.err, /There is no checkpoint in \/nowhere/);
    const noServer = await run(["search", "--index", "x", "x"], {
      OPENSEARCH_URL: "http://127.0.0.1:1",
    });
    assert.match(noServer.err, /csplade up/);
    const badSetting = await run(["doctor"], { CSPLADE_THREADS: "many" });
    assert.equal(badSetting.code, 2);
    const badOption = await run(["search", "--indx", "x", "x"]);
    assert.equal(badOption.code, 2);
    assert.match(badOption.err, /--index/);
  });

  it("refuses to search an index with another model, naming both", async () => {
    const other = await run(["search", "--index", "cli-docs", "--json", "x"], {
      CSPLADE_MODEL: tinyCheckpoint("echo"),
    });
    assert.equal(other.code, 1);
    assert.match(other.out, /model_mismatch.*csplade-tiny-bi.*csplade-tiny-echo/);
  });

  it("shows every setting with its origin, and no password", async () => {
    const { host } = new URL(testServers().redisUrl);
    const doctor = await run(["doctor", "--json"], { REDIS_URL: `redis://:hunter2@${host}` });
    const { settings } = JSON.parse(doctor.out) as { settings: { name: string; origin: string }[] };
    assert.ok(!doctor.out.includes("hunter2"));
    const model = settings.find((setting) => setting.name === "model.path");
    assert.equal(model?.origin, "environment CSPLADE_MODEL");
  });

  it("lists the models that are installed, and the one that is taken", async () => {
    const json = await run(["models", "--json"]);
    assert.equal(json.code, 0, json.err);
    const { models } = JSON.parse(json.out) as {
      models: { directory: string; chosen: boolean; fingerprint: string }[];
    };
    const chosen = models.filter((each) => each.chosen);
    assert.deepEqual(
      chosen.map(({ directory }) => directory),
      [tinyCheckpoint("bi")],
    );
    const shown = await run(["models"]);
    for (const { fingerprint } of models) assert.ok(shown.out.includes(fingerprint), shown.out);
    assert.equal(shown.out.split("\n").filter((line) => line.startsWith("*  ")).length, 1);
    const missing = await run(["models", "--model", path.join(folder, "nowhere")]);
    assert.equal(missing.code, 1);
    assert.match(missing.out, /There is no checkpoint in .*nowhere/);
  });

  it("shows the terms of a text, readable", async () => {
    const encoded = await run(["encode", "fear of the space"]);
    assert.equal(encoded.code, 0, encoded.err);
    assert.match(encoded.out, /space|sp/);
  });

  it("leaves the work to csplade worker processes on request, which drain on SIGTERM", async () => {
    const file = path.join(folder, "worker.ndjson");
    const many = Array.from({ length: 500 }, (_, i) => ({
      _id: `w${i}`,
      text: `text number ${i}`,
    }));
    writeFileSync(file, many.map((each) => JSON.stringify(each)).join("\n"));
    const worker = start(["worker"]);
    const said = text(worker.stderr);
    const ended = new Promise<number | null>((resolve) => worker.on("close", resolve));
    const ingested = await run(["ingest", file, "--index", "cli-worker", "--no-workers", "--json"]);
    assert.equal(ingested.code, 0, ingested.err);
    assert.equal((JSON.parse(ingested.out) as { written: number }).written, 500);
    worker.kill("SIGTERM");
    assert.equal(await ended, 0, await said);
  });

  it("survives kill -9 of the ingest itself: the next run completes it", async () => {
    const file = path.join(folder, "killed.ndjson");
    const many = Array.from({ length: 3_000 }, (_, i) => ({
      _id: `k${i}`,
      text: `This is the text of document number ${i}.`,
    }));
    writeFileSync(file, many.map((each) => JSON.stringify(each)).join("\n"));
    const killed = start(["ingest", file, "--index", "cli-killed"]);
    const gone = new Promise((resolve) => killed.on("close", resolve));
    await sleep(1_500);
    killed.kill("SIGKILL");
    await gone;
    const again = await run(["ingest", file, "--index", "cli-killed", "--json"]);
    assert.equal(again.code, 0, again.err);
    const { read, written, skipped, failed } = JSON.parse(again.out) as Record<string, number>;
    assert.deepEqual([read, failed], [3_000, 0]);
    assert.equal((written ?? 0) + (skipped ?? 0), 3_000);
    const url = `${testServers().opensearchUrl}/cli-killed/_count`;
    const count = (await (await fetch(url)).json()) as { count: number };
    assert.equal(count.count, 3_000);
  });
});
