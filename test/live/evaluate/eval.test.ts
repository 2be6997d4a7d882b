/** `csplade eval` as people and scripts use it, on the real index it makes. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { readCollection } from "../../../src/evaluate/beir.js";
import { bm25 } from "../../../src/evaluate/bm25.js";
import { meanMetrics, runMetrics } from "../../../src/evaluate/metrics.js";
import { parseRun } from "../../../src/evaluate/run-file.js";
import { runCsplade, startCsplade } from "../../support/csplade-command.js";
import { testServers } from "../../support/servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const corpus = [
  { _id: "d1", title: "Claustrophobia", text: "a morbid fear of being in a confined space" },
  { _id: "d2", title: "Insomnia", text: "an inability to sleep at night" },
  { _id: "d3", title: "Astronomer", text: "a physicist who studies the stars" },
  { _id: "d4", title: "Palaeontologist", text: "a specialist who digs up fossils" },
  { _id: "d5", title: "Sleep", text: "a natural and periodic state of rest" },
  { _id: "blank", title: "", text: " " },
];

const queries = [
  { _id: "q1", text: "fear of a confined space" },
  { _id: "q2", text: "sleep" },
  { _id: "q3", text: "specialist fossils" },
  { _id: "unjudged", text: "nothing" },
];

const qrels = [
  ["q1", "d1", 1],
  ["q2", "d5", 2],
  ["q2", "d2", 1],
  ["q2", "d1", 0],
  ["q3", "d4", 1],
] as const;

interface Report {
  readonly dataset: string;
  readonly model: string;
  readonly queries: number;
  readonly "ndcg@10": number;
  readonly bm25: { readonly "ndcg@10": number };
  readonly failed_documents: number;
  readonly avg_query_terms: number;
  readonly avg_doc_terms: number;
  readonly index_bytes: number;
  readonly ms_per_query_p50: number;
}

describe("csplade eval", function () {
  this.timeout(120_000);
  let folder: string;
  let data: string;
  let cluster: Cluster;

  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-eval-"));
    data = path.join(folder, "terms");
    mkdirSync(path.join(data, "qrels"), { recursive: true });
    const lines = (rows: readonly object[]) =>
      rows.map((row) => `${JSON.stringify(row)}\n`).join("");
    writeFileSync(path.join(data, "corpus.jsonl"), lines(corpus));
    writeFileSync(path.join(data, "queries.jsonl"), lines(queries));
    writeFileSync(
      path.join(data, "qrels", "test.tsv"),
      ["query-id\tcorpus-id\tscore", ...qrels.map((row) => row.join("\t")), ""].join("\n"),
    );
    cluster = connectCluster(testConfig({ "opensearch.url": testServers().opensearchUrl }));
  });

  after(async () => {
    rmSync(folder, { recursive: true });
    await cluster.close();
  });

  const run = (args: readonly string[], env?: NodeJS.ProcessEnv) => runCsplade(folder, args, env);

  async function indices(): Promise<string[]> {
    const { body } = await cluster.send({
      method: "GET",
      path: "/_cat/indices",
      query: { format: "json" },
    });
    return (body as { index: string }[]).map(({ index }) => index);
  }

  it("prints one JSON object, whose figures the run file gives again, and leaves no index", async () => {
    const before = await indices();
    const file = path.join(folder, "terms.run");
    const { code, out, err } = await run([
      "eval",
      "--data",
      data,
      "--json",
      "--quiet",
      "--run",
      file,
    ]);
    assert.equal(code, 0, err);
    const report = JSON.parse(out) as Report;
    assert.equal(report.dataset, "terms");
    assert.equal(report.model, "csplade-tiny-bi");
    assert.equal(report.queries, 3);
    assert.equal(report.failed_documents, 1);
    assert.match(err, /1 documents could not be indexed/);
    for (const name of [
      "avg_query_terms",
      "avg_doc_terms",
      "index_bytes",
      "ms_per_query_p50",
    ] as const) {
      assert.ok(report[name] > 0, name);
    }
    const { qrels: judged } = await readCollection(data);
    const again = meanMetrics(runMetrics(parseRun(readFileSync(file, "utf8"), file), judged));
    for (const [name, value] of Object.entries(again)) {
      assert.ok(
        Math.abs(value - (report as unknown as Record<string, number>)[name]!) < 5e-5,
        name,
      );
    }
    assert.ok(report.bm25["ndcg@10"] > 0.9, String(report.bm25["ndcg@10"]));
    assert.deepEqual((await indices()).sort(), before.sort());
  });

  for (const mode of ["nested", "documents"]) {
    it(`gives the same figures with ${mode} passages, for texts of one passage`, async () => {
      const name = `eval-${mode}`;
      const merged = await run(["eval", "--data", data, "--json", "--quiet"]);
      const other = await run(
        ["eval", "--data", data, "--json", "--quiet", "--index", name, "--keep"],
        {
          CSPLADE_PASSAGES: mode,
        },
      );
      assert.equal(other.code, 0, other.err);
      const [one, two] = [JSON.parse(merged.out) as Report, JSON.parse(other.out) as Report];
      assert.equal(two["ndcg@10"], one["ndcg@10"]);
      assert.equal(two["bm25"]["ndcg@10"], one.bm25["ndcg@10"]);
      assert.equal(two.avg_doc_terms, one.avg_doc_terms);
      assert.ok((await indices()).includes(name));
      // The index is there now, so a second evaluation uses it and never deletes it.
      const again = await run(["eval", "--data", data, "--json", "--quiet", "--index", name], {
        CSPLADE_PASSAGES: mode,
      });
      assert.equal((JSON.parse(again.out) as Report)["ndcg@10"], two["ndcg@10"]);
      assert.ok((await indices()).includes(name));
      await cluster.send({ method: "DELETE", path: `/${name}` });
    });
  }

  it("removes its index when it is interrupted, and exits with 130", async () => {
    const large = path.join(folder, "large");
    mkdirSync(path.join(large, "qrels"), { recursive: true });
    const documents = Array.from(
      { length: 20_000 },
      (_, i) => `{"_id":"${i}","text":"text number ${i} of many"}\n`,
    );
    writeFileSync(path.join(large, "corpus.jsonl"), documents.join(""));
    writeFileSync(path.join(large, "queries.jsonl"), '{"_id":"q","text":"number"}\n');
    writeFileSync(path.join(large, "qrels", "test.tsv"), "q\t7\t1\n");
    const name = "eval-interrupted";
    const child = startCsplade(folder, [
      "eval",
      "--data",
      large,
      "--json",
      "--quiet",
      "--index",
      name,
    ]);
    child.stdin.end();
    const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
    const output = text(child.stdout);
    while (!(await indices()).includes(name)) {
      assert.equal(child.exitCode, null, "It ended before it was interrupted.");
      await sleep(100);
    }
    child.kill("SIGINT");
    assert.equal(await ended, 130, await output);
    assert.ok(!(await indices()).includes(name));
  });

  it("says in a table what it found", async () => {
    const { code, out } = await run(["eval", "--data", data, "--quiet"]);
    assert.equal(code, 0);
    assert.match(out, /terms: 3 queries, 6 documents/);
    assert.match(out, /ndcg@10 +\d\.\d{4} +\d\.\d{4}/);
  });

  it("compares modes of search with plain scoring and BM25, each with its figures and times", async () => {
    const words = ["eval", "--data", data, "--quiet", "--json", "--modes", "all"];
    const { code, out, err } = await run(words);
    assert.equal(code, 0, err);
    assert.match(
      err,
      /Left out: ann \(.*\), lexical \(the checkpoint has no lexicon\), rerank \(.*\)\./,
    );
    const { modes, ...report } = JSON.parse(out) as Report & {
      readonly modes: readonly {
        readonly name: string;
        readonly "ndcg@10": number;
        readonly versus_plain?: { readonly difference: number };
        readonly ms_p50: number;
        readonly ms_p95: number;
      }[];
    };
    assert.deepEqual(
      modes.map(({ name }) => name),
      ["bm25", "plain", "two_phase", "hybrid rrf", "hybrid min_max"],
    );
    const figures = new Map(modes.map((mode) => [mode.name, mode]));
    const plain = figures.get("plain")!["ndcg@10"];
    assert.equal(plain, report["ndcg@10"]);
    assert.equal(figures.get("bm25")!["ndcg@10"], report.bm25["ndcg@10"]);
    for (const mode of modes) {
      assert.ok(mode.ms_p50 > 0 && mode.ms_p95 >= mode.ms_p50, mode.name);
      if (mode.versus_plain === undefined) continue;
      assert.ok(Math.abs(mode.versus_plain.difference - (mode["ndcg@10"] - plain)) < 2e-4);
    }
    const refused = await run(["eval", "--data", data, "--modes", "plain,fast"]);
    assert.equal(refused.code, 2);
    assert.match(refused.err, /Modes are plain, two_phase, ann, lexical, hybrid, rerank, or all/);
  });

  for (const mode of ["merged", "nested"]) {
    it(`measures a pruning on a copy as if it had been ingested with it, passages ${mode}`, async () => {
      interface Pruned extends Pick<Report, "ndcg@10" | "avg_doc_terms" | "index_bytes"> {
        readonly prune_type: string;
        readonly prune_ratio: number;
        readonly versus_whole?: { readonly difference: number };
      }
      const evaluated = async (args: readonly string[], env: NodeJS.ProcessEnv = {}) => {
        const all = ["eval", "--data", data, "--quiet", "--json", ...args];
        const { code, out, err } = await run(all, { CSPLADE_PASSAGES: mode, ...env });
        assert.equal(code, 0, err);
        return JSON.parse(out) as Report & {
          readonly prunings: readonly Pruned[];
          readonly recommended_pruning: {
            readonly prune_type: string;
            readonly prune_ratio: number;
          };
        };
      };
      const before = await indices();
      const compared = await evaluated(["--prunings", "top_k:9,top_k:1", "--kept-quality", "0.6"]);
      assert.deepEqual(await indices(), before);
      const [whole, nine, one] = compared.prunings;
      assert.ok(whole !== undefined && nine !== undefined && one !== undefined);
      assert.equal(whole.prune_type, "none");
      assert.equal(whole["ndcg@10"], compared["ndcg@10"]);
      assert.equal(whole.avg_doc_terms, compared.avg_doc_terms);
      assert.ok(one["ndcg@10"] < whole["ndcg@10"], "a term a document is not enough");
      assert.ok(Math.abs(one.versus_whole!.difference - one["ndcg@10"] + whole["ndcg@10"]) < 2e-4);
      const ingested = await evaluated([], {
        CSPLADE_DOCUMENT_PRUNE_TYPE: "top_k",
        CSPLADE_DOCUMENT_PRUNE_RATIO: "9",
      });
      assert.equal(nine["ndcg@10"], ingested["ndcg@10"]);
      assert.equal(nine.avg_doc_terms, ingested.avg_doc_terms);
      const kept = compared.prunings.filter((row) => row["ndcg@10"] >= 0.6 * whole["ndcg@10"]);
      const { prune_type, prune_ratio } = compared.recommended_pruning;
      const smallest = Math.min(...kept.map((row) => row.index_bytes));
      assert.equal(
        kept.find((row) => row.prune_type === prune_type && row.prune_ratio === prune_ratio)
          ?.index_bytes,
        smallest,
      );
    });
  }

  it("says which prunings there are, and that vectors outside _source cannot be pruned", async () => {
    const refused = await run(["eval", "--data", data, "--prunings", "top_k:0"]);
    assert.equal(refused.code, 2);
    assert.match(refused.err, /top_k:0 is no pruning: .*max_ratio:0.1 or top_k:64/);
    const without = await run(["eval", "--data", data, "--quiet", "--prunings", "top_k:9"], {
      CSPLADE_STORE_VECTORS: "false",
    });
    assert.equal(without.code, 1);
    assert.match(without.err, /carry no vectors in _source, so there is nothing to prune/);
  });

  it("saves results that compare with run files and with each other, query by query", async () => {
    const [ours, theirs] = [path.join(folder, "ours.run"), path.join(folder, "bm25.run")];
    const saved = path.join(folder, "saved.json");
    const { code, out, err } = await run([
      ...["eval", "--data", data, "--quiet", "--json", "--metrics", "ndcg@3,recall@200"],
      ...["--run", ours, "--bm25-run", theirs, "--save", saved],
    ]);
    assert.equal(code, 0, err);
    const report = JSON.parse(out) as Report & Record<string, number>;
    assert.ok(report["ndcg@3"]! >= 0 && report["recall@200"]! > 0);
    interface Comparison {
      readonly queries: number;
      readonly metrics: Record<
        string,
        {
          first: number;
          second: number;
          difference: number;
          wins: number;
          losses: number;
          ties: number;
        }
      >;
      readonly changed: readonly { query: string; text: string; difference: number }[];
    }
    const compare = async (...args: readonly string[]) => {
      const done = await run(["eval", "--json", ...args]);
      assert.equal(done.code, 0, done.err + done.out);
      return JSON.parse(done.out) as Comparison;
    };
    const files = await compare("--data", data, "--compare", theirs, ours);
    const results = await compare("--compare", `${saved}#bm25`, saved);
    assert.deepEqual(files.metrics["ndcg@10"], results.metrics["ndcg@10"]);
    assert.deepEqual(files.changed, results.changed);
    assert.ok(results.metrics["ndcg@3"] !== undefined && files.metrics["ndcg@3"] === undefined);
    const ndcg = files.metrics["ndcg@10"]!;
    assert.equal(files.queries, 3);
    assert.equal(ndcg.first, report.bm25["ndcg@10"]);
    assert.equal(ndcg.second, report["ndcg@10"]);
    assert.equal(ndcg.wins + ndcg.losses, files.changed.length);
    for (const { query, text: words } of files.changed) {
      assert.equal(words, queries.find(({ _id }) => _id === query)!.text);
    }
    const page = path.join(folder, "report.html");
    const drawn = await run(["eval", "--report", page, "--results", saved]);
    assert.equal(drawn.code, 0, drawn.err);
    assert.match(readFileSync(page, "utf8"), /<h2>terms<\/h2>.*<svg .*Query by query/s);
    const shown = await run(["eval", "--data", data, "--compare", ours, ours]);
    assert.match(shown.out, /ndcg@10 .* \+0\.0000 +1\.000 +0\/0\/3/);
    assert.match(shown.out, /nDCG@10 is the same on every query/);
  });

  it("says what a comparison lacks", async () => {
    const file = path.join(folder, "lonely.run");
    writeFileSync(file, "q1 Q0 d1 1 1 x\n");
    for (const [args, message] of [
      [["--compare", file, file], /lonely\.run is a run, and there are no judgements.*--data/s],
      [["--data", data, "--compare", file], /--compare takes two files, not 1/],
      [["--data", data, "--compare", file, "no.run"], /no\.run cannot be read/],
      [["--data", data, "--compare", data, file], /cannot be read/],
      [[], /nothing to evaluate/],
    ] as const) {
      const { code, err } = await run(["eval", ...args]);
      assert.ok(code === 1 || code === 2, err);
      assert.match(err, message);
    }
    writeFileSync(path.join(folder, "broken.json"), '{"format":"other"}');
    const broken = await run(["eval", "--data", data, "--compare", file, "broken.json"]);
    assert.match(broken.err, /broken\.json is no saved evaluation/);
  });

  it("names what is wrong with a collection before it indexes anything", async () => {
    const before = await indices();
    const { code, out } = await run(["eval", "--data", folder, "--json"]);
    assert.equal(code, 1);
    const { error } = JSON.parse(out) as { error: { code: string; message: string } };
    assert.equal(error.code, "source_unreadable");
    assert.match(error.message, /no corpus\.jsonl/);
    assert.deepEqual((await indices()).sort(), before.sort());
  });

  it("refuses an index that csplade did not make, and leaves it alone", async () => {
    await cluster.demand(
      { method: "POST", path: "/somebodys/_doc", query: { refresh: true }, body: { text: "mine" } },
      "Making somebody's index",
    );
    const { code, out } = await run([
      "eval",
      "--data",
      data,
      "--json",
      "--quiet",
      "--index",
      "somebodys",
    ]);
    assert.equal(code, 1);
    assert.match(out, /index_invalid/);
    assert.ok((await indices()).includes("somebodys"));
    await cluster.send({ method: "DELETE", path: "/somebodys" });
  });

  it("searches BM25 over title and text as one, also where combined_fields is unknown", async () => {
    const name = "eval-bm25";
    await cluster.send({ method: "DELETE", path: `/${name}` });
    for (const { _id, ...document } of corpus) {
      await cluster.demand(
        { method: "PUT", path: `/${name}/_doc/${_id}`, query: { refresh: true }, body: document },
        "Indexing a document",
      );
    }
    const old: Cluster = {
      ...cluster,
      send: (request) =>
        JSON.stringify(request.body ?? {}).includes("combined_fields")
          ? Promise.resolve({
              status: 400,
              body: {
                error: { type: "parsing_exception", reason: "unknown query [combined_fields]" },
              },
              retryAfterSeconds: undefined,
            })
          : cluster.send(request),
    };
    for (const one of [cluster, old]) {
      const search = bm25(one, { index: name, text_fields: ["title", "text"] });
      const hits = await search("sleep insomnia", 10);
      assert.deepEqual(hits.map(({ id }) => id).sort(), ["d2", "d5"]);
      assert.equal(hits[0]?.id, "d2");
    }
    await cluster.send({ method: "DELETE", path: `/${name}` });
  });
});
