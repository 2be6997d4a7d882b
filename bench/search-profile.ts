/**
 * Where the caller's time of a search goes: the engine's query phase and fetch phase, HTTP with
 * all that the server does around the phases, the official client, csplade's own code.
 *
 *   npm run bench:search -- --opensearch URL --keep       makes the indices and keeps them
 *   npm run bench:profile -- --opensearch URL --index NAME --bm25 NAME --lean NAME --folder DIR
 *
 * Every search is asked in four ways: through csplade's code; with the body that this sends, through
 * the client; the same as bytes over a plain connection of Node's `http`; and so without fetching
 * anything of a hit, not even its id. Of each, the least of all rounds counts for a question, and the
 * mean over questions is shown: what else the machine does only ever adds. The parts are differences
 * of neighbours, and the last is what a search takes that matches nothing.
 */
import { Agent, request as httpRequest } from "node:http";
import type { Cluster } from "../src/cluster/cluster.js";
import { pathOf, type ClusterRequest } from "../src/cluster/request.js";
import type { SearchRequest } from "../src/query/search-request.js";
import { search } from "../src/query/search.js";
import { benchFlags } from "./bench-flags.js";
import { describeMachine, markdownTable } from "./bench-report.js";
import { openBench } from "./bench-server.js";
import { openCorpus, type Question } from "./search-corpus.js";

const flags = benchFlags(import.meta.url, {
  opensearch: { type: "string", default: "http://127.0.0.1:9250" },
  index: { type: "string", default: "csplade-bench" },
  bm25: { type: "string", default: "csplade-bench-bm25" },
  lean: { type: "string" },
  folder: { type: "string" },
  every: { type: "string", default: "2" },
  questions: { type: "string", default: "100" },
  rounds: { type: "string", default: "8" },
});

/** A way to search: by csplade, or a body sent as it is. */
interface Way {
  readonly name: string;
  readonly index: string;
  readonly run: (cluster: Cluster, question: Question) => Promise<unknown>;
}

/** Milliseconds of one search, each way of asking. */
interface Times {
  whole: number;
  client: number;
  http: number;
  /** Without fetching anything of a hit. */
  unfetched: number;
}

const PARTS = ["whole", "client", "http", "unfetched"] as const;

/** Means over questions. */
interface Profile extends Times {
  /** Bytes of an answer. */
  readonly bytes: number;
}

/** What a search body takes so that no stored field of a hit is read. */
const NOTHING_FETCHED = { _source: false, stored_fields: "_none_" };

const { config, folder, cluster, close } = await openBench({ ...flags, heap: "2g" });
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
try {
  const { corpus } = await openCorpus(config, {
    folder,
    every: Number(flags.every),
    questions: Number(flags.questions),
  });
  const ways = waysOf(flags);
  const profiles = await measure(ways, corpus.questions, Number(flags.rounds));
  const { cpu, cores } = describeMachine();
  console.log(`${corpus.questions.length} questions, ${cores} cores (${cpu})\n`);
  console.log(
    markdownTable({
      title: "",
      columns: [
        "milliseconds of a search",
        "whole:",
        "csplade:",
        "client:",
        "fetching:",
        "finding:",
        "HTTP, coordination:",
        "answer's bytes:",
      ],
      rows: ways.map(({ name }, i) => {
        const { whole, client, http, unfetched, bytes } = profiles[i] as Profile;
        const floor = profiles[0]?.unfetched ?? 0;
        const parts = [whole - client, client - http, http - unfetched, unfetched - floor, floor];
        return [name, ...[whole, ...parts].map((part) => part.toFixed(2)), bytes.toFixed(0)];
      }),
    }),
  );
} finally {
  agent.destroy();
  await close();
}

function waysOf({ index, bm25, lean }: typeof flags): Way[] {
  const mode = (name: string, changes: Partial<SearchRequest>): Way => ({
    name,
    index: changes.index ?? index,
    run: (through, { vector, text }) =>
      search(through, { index, vector, text, text_fields: ["text"], source: false, ...changes }),
  });
  const uncounted = { body: { track_total_hits: false } };
  const texts = { ...uncounted, source: undefined };
  const raw = (name: string, at: string, bodyOf: (question: Question) => object): Way => ({
    name,
    index: at,
    run: (through, question) =>
      through.send({
        method: "POST",
        path: pathOf(at, "_search"),
        body: { size: 10, track_total_hits: false, ...bodyOf(question) },
      }),
  });
  const match = ({ text }: Question) => ({ query: { match: { text } } });
  return [
    raw("nothing (match_none)", bm25, () => ({ query: { match_none: {} } })),
    raw("BM25 match, ids only", bm25, (question) => ({ ...match(question), _source: false })),
    raw("BM25 match, with texts", bm25, match),
    mode("plain, counting, ids only", {}),
    mode("plain, ids only", uncounted),
    mode("plain, with texts", texts),
    mode("plain, with texts and vectors", { ...uncounted, source: ["*"] }),
    ...(lean === undefined
      ? []
      : [mode("plain, with texts, vectors not in _source", { ...texts, index: lean })]),
    mode("two_phase, ids only", { mode: "two_phase" }),
    mode("two_phase, with texts", { mode: "two_phase", source: undefined }),
  ];
}

/** All ways answer a question right after each other, in an order that moves on. */
async function measure(
  ways: readonly Way[],
  questions: readonly Question[],
  rounds: number,
): Promise<Profile[]> {
  const least = ways.map(() =>
    questions.map((): Times => ({
      whole: Infinity,
      client: Infinity,
      http: Infinity,
      unfetched: Infinity,
    })),
  );
  const bodies = ways.map(() => [] as ClusterRequest[]);
  const bytes = ways.map(() => 0);
  for (let round = 0; round <= rounds; round++) {
    for (const [q, question] of questions.entries()) {
      for (let turn = 0; turn < ways.length; turn++) {
        const w = (turn + q) % ways.length;
        const way = ways[w] as Way;
        if (round === 0) {
          const recording: Cluster = {
            ...cluster,
            send: (asked) => {
              (bodies[w] as ClusterRequest[])[q] = asked;
              return cluster.send(asked);
            },
          };
          await way.run(recording, question);
        }
        const asked = bodies[w]?.[q] as ClusterRequest;
        const text = JSON.stringify(asked.body);
        const bare = JSON.stringify({ ...Object(asked.body), ...NOTHING_FETCHED });
        let length = 0;
        const ask = {
          whole: () => way.run(cluster, question),
          client: () => cluster.send(asked),
          http: async () => (length = await overHttp(asked.path, text)),
          unfetched: () => overHttp(asked.path, bare),
        };
        const best = least[w]?.[q];
        for (let i = 0; i < PARTS.length; i++) {
          // The first of the four finds the processor's caches cold: each is it in turn.
          const part = PARTS[(i + round) % PARTS.length] ?? "whole";
          const ms = await timed(ask[part]);
          if (round > 0 && best !== undefined) best[part] = Math.min(best[part], ms);
        }
        if (round === 0) bytes[w] = (bytes[w] ?? 0) + length / questions.length;
      }
    }
    console.error(`round ${round} of ${rounds} (the first is not timed)`);
  }
  return ways.map((_, w) => ({
    whole: mean(least[w]?.map(({ whole }) => whole)),
    client: mean(least[w]?.map(({ client }) => client)),
    http: mean(least[w]?.map(({ http }) => http)),
    unfetched: mean(least[w]?.map(({ unfetched }) => unfetched)),
    bytes: bytes[w] ?? 0,
  }));
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/**
 * A search as bytes, over one connection that stays open; its answer is read and parsed.
 * @returns bytes of the answer.
 */
function overHttp(at: string, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
    };
    const request = httpRequest(
      new URL(at, flags.opensearch),
      { method: "POST", agent, headers },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", reject);
        response.on("end", () => {
          const answer = Buffer.concat(chunks);
          JSON.parse(answer.toString());
          resolve(answer.length);
        });
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

function mean(values: readonly number[] = []): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
