/**
 * What skipping low-quality passages costs: the share of a collection that is skipped at each
 * threshold, and what becomes of nDCG@10, with its p-value.
 *
 *   csplade eval --data DIR --metrics recall@1000 --run DIR.run
 *   node dist/bench/passage-quality.js --data DIR --run DIR.run
 *
 * Plain scoring scores every document by itself, so a run without the skipped documents is the run
 * of an index that never encoded them, as far as the run is deep enough.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { readCollection } from "../src/evaluate/beir.js";
import { compareResults } from "../src/evaluate/compare-results.js";
import { runMetrics } from "../src/evaluate/metrics.js";
import { parseRun } from "../src/evaluate/run-file.js";
import { passageQuality, qualitySigns, type QualitySigns } from "../src/text/passage-quality.js";
import { benchFlags } from "./bench-flags.js";

const flags = benchFlags(import.meta.url, {
  data: { type: "string" },
  run: { type: "string" },
  thresholds: { type: "string", default: "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9" },
  show: { type: "string" },
});
if (flags.data === undefined || flags.run === undefined) {
  console.error("usage: passage-quality --data FOLDER --run FILE [--thresholds LIST] [--show N]");
  process.exit(2);
}

const collection = await readCollection(flags.data);
const run = parseRun(await readFile(flags.run, "utf8"), flags.run);
const texts = new Map<string, string>();
for (const line of (await readFile(path.join(flags.data, "corpus.jsonl"), "utf8")).split("\n")) {
  if (line.trim() === "") continue;
  const { _id, title, text } = JSON.parse(line) as Record<string, string | undefined>;
  texts.set(String(_id), [title, text].filter((part) => (part ?? "") !== "").join(" "));
}
const started = performance.now();
const scores = new Map(Array.from(texts, ([id, text]) => [id, passageQuality(text)]));
const ms = performance.now() - started;
const relevant = new Set(
  [...collection.qrels.values()].flatMap((judged) =>
    [...judged].flatMap(([id, grade]) => (grade > 0 ? [id] : [])),
  ),
);
const whole = { name: "all", per_query: runMetrics(run, collection.qrels) };

console.log(
  `\n${collection.name}: ${texts.size} documents, ${collection.queries.length} queries; ` +
    `scored in ${((ms / texts.size) * 1000).toFixed(0)} µs each\n`,
);
console.log("| threshold | skipped | of the relevant | nDCG@10 | change | p | recall@100 change |");
console.log("| --- | --- | --- | --- | --- | --- | --- |");
for (const threshold of flags.thresholds.split(",").map(Number)) {
  const skipped = new Set([...scores].flatMap(([id, score]) => (score < threshold ? [id] : [])));
  const rest = new Map(
    Array.from(run, ([query, hits]) => [query, hits.filter(({ id }) => !skipped.has(id))]),
  );
  const { metrics } = compareResults(whole, {
    name: "rest",
    per_query: runMetrics(rest, collection.qrels),
  });
  const [ndcg, recall] = [metrics.get("ndcg@10"), metrics.get("recall@100")];
  const lost = [...relevant].filter((id) => skipped.has(id)).length;
  const cells = [
    threshold,
    `${((100 * skipped.size) / texts.size).toFixed(1)} %`,
    `${((100 * lost) / relevant.size).toFixed(1)} %`,
    ndcg?.second.toFixed(4),
    ndcg?.difference.toFixed(4),
    (ndcg?.p_value ?? 1) < 0.001 ? "<0.001" : ndcg?.p_value.toFixed(3),
    recall?.difference.toFixed(4),
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
console.log("\nDocuments and relevant ones by their weakest sign, where it is below 0.5:");
const weakest = (id: string) =>
  Object.entries(qualitySigns(texts.get(id) ?? "")).sort(([, a], [, b]) => a - b)[0] as [
    keyof QualitySigns,
    number,
  ];
for (const sign of ["substance", "prose", "letters", "variety", "originality"] as const) {
  const of = (ids: Iterable<string>) =>
    [...ids].filter((id) => (([name, value]) => name === sign && value < 0.5)(weakest(id))).length;
  console.log(`${sign.padEnd(12)} ${of(texts.keys())} of which relevant ${of(relevant)}`);
}
for (const [id, text] of [...texts]
  .filter(([id]) => (scores.get(id) ?? 1) < 0.5 && (relevant.has(id) || flags.show === undefined))
  .slice(0, Number(flags.show ?? 0))) {
  console.log(`\n${id} ${weakest(id).join(" ")}: ${text.slice(0, 200)}`);
}
