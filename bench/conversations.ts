/**
 * What earlier turns of a conversation give to a follow-up that leans on them, by `history_decay`.
 *
 *   csplade eval --data FOLDER --index NAME
 *   npm run bench:conversations -- --data FOLDER --index NAME --opensearch URL
 *
 * Conversations are made of a judged collection: a question of six words or more is cut in the middle,
 * the first half is what was asked before and the second half is the follow-up, judged as the whole is.
 * The whole question is what a rewriting of the follow-up could be at best.
 */
import { writeFile } from "node:fs/promises";
import { openEncoder } from "../src/encoder/encoder.js";
import { readJudgements } from "../src/evaluate/beir.js";
import { meanMetrics, runMetrics } from "../src/evaluate/metrics.js";
import { openSearcher, type QuestionOptions } from "../src/searcher/searcher.js";
import { benchFlags, SERVER_FLAGS } from "./bench-flags.js";
import { markdownTable } from "./bench-report.js";
import { openBench } from "./bench-server.js";

const flags = benchFlags(import.meta.url, {
  ...SERVER_FLAGS,
  heap: { type: "string", default: "1g" },
  data: { type: "string", default: "" },
  index: { type: "string", default: "" },
  json: { type: "string" },
});

const DECAYS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1];
const FEWEST_WORDS = 6;

/** A conversation and what it is judged by. */
interface Conversation {
  readonly id: string;
  readonly whole: string;
  readonly before: readonly string[];
  readonly follow_up: string;
}

function conversations(
  queries: readonly { readonly id: string; readonly text: string }[],
): Conversation[] {
  return queries.flatMap(({ id, text }) => {
    const words = text.trim().split(/\s+/);
    if (words.length < FEWEST_WORDS) return [];
    const middle = Math.floor(words.length / 2);
    const [before, follow_up] = [words.slice(0, middle), words.slice(middle)];
    return [{ id, whole: text, before: [before.join(" ")], follow_up: follow_up.join(" ") }];
  });
}

const { config, cluster, close } = await openBench(flags);
const encoder = await openEncoder(config);
try {
  const { queries, qrels, name } = await readJudgements(flags.data);
  const all = conversations(queries);
  const judged = new Map(all.map(({ id }) => [id, qrels.get(id) ?? new Map<string, number>()]));
  const searcher = openSearcher({ cluster, encoder, idf_timeout_ms: 60_000 });

  async function quality(asked: (of: Conversation) => [string, QuestionOptions]): Promise<number> {
    const run = new Map<string, { id: string; score: number }[]>();
    for (const each of all) {
      const [question, options] = asked(each);
      const { hits } = await searcher.search(flags.index, question, { ...options, size: 100 });
      run.set(
        each.id,
        hits.map(({ id, score }) => ({ id, score })),
      );
    }
    return meanMetrics(runMetrics(run, judged))["ndcg@10"];
  }

  const rows: [string, number][] = [
    ["the follow-up alone", await quality(({ follow_up }) => [follow_up, {}])],
  ];
  for (const history_decay of DECAYS) {
    const figure = await quality(({ follow_up, before: history }) => [
      follow_up,
      { history, history_decay },
    ]);
    rows.push([`with history, decay ${history_decay}`, figure]);
  }
  rows.push(["the whole question", await quality(({ whole }) => [whole, {}])]);
  const table = markdownTable({
    title: name,
    columns: ["asked", "nDCG@10:"],
    rows: rows.map(([asked, figure]) => [asked, figure.toFixed(4)]),
    notes: [],
  });
  console.log(`${name}: ${all.length} conversations, ${encoder.manifest.name}\n\n${table}`);
  if (flags.json !== undefined) {
    await writeFile(
      flags.json,
      `${JSON.stringify({ conversations: all.length, rows }, undefined, 2)}\n`,
    );
  }
} finally {
  await encoder.close();
  await close();
}
