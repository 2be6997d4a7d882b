/** `csplade search`: a question against an index, with the terms that matched. */
import { createReadStream } from "node:fs";
import { text } from "node:stream/consumers";
import { type Command, InvalidArgumentError, Option } from "commander";
import open from "open";
import { connectCluster, type Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { openQueryEncoder } from "../encoder/query-encoder.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { readModeOptions, type ModeOptions } from "../query/mode-options.js";
import type { QueryClause } from "../query/query-clause.js";
import { searchModes, type SearchMode } from "../query/search-mode.js";
import { demandReranker, openReranker } from "../rerank/open-reranker.js";
import type { Reranker } from "../rerank/reranker.js";
import { openSearcher, type Answer, type Searcher } from "../searcher/searcher.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine } from "./outcome.js";
import { parseReranked } from "./rerank-option.js";
import { answerText, hitLines, outputs, runText, type Output } from "./search-formats.js";
import { printAnswer, printTable } from "./search-output.js";

/** A search as asked on the command line. */
export interface Question {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly index: string;
  readonly question: string;
  readonly size: number;
  readonly from?: number | undefined;
  readonly filter?: QueryClause | undefined;
  /** Sorting and aggregations, as the cluster takes them. */
  readonly body?: Readonly<Record<string, unknown>> | undefined;
  /** `plain` without it. */
  readonly mode?: SearchMode | undefined;
  readonly options?: ModeOptions | undefined;
  /** Factor of what the model adds to the question; `query.expansion` without it. */
  readonly expansion?: number | undefined;
  /** So many first hits are put into the order of the reranker. */
  readonly rerank?: number | undefined;
  readonly reranker?: Reranker | undefined;
  /** Earlier turns of the conversation, oldest first. */
  readonly history?: readonly string[] | undefined;
  /** Say which words of the text added terms came from. */
  readonly origin?: boolean | undefined;
  readonly signal: AbortSignal;
}

interface SearchFlags {
  readonly index: string;
  readonly size: number;
  readonly from: number;
  readonly sort?: readonly object[];
  readonly fields?: readonly string[];
  readonly aggs?: string;
  readonly output: Output;
  readonly queryId: string;
  readonly open?: true;
  readonly filter?: QueryClause;
  readonly mode: SearchMode;
  readonly options?: unknown;
  readonly expansion?: number;
  readonly rerank?: number;
  readonly turn?: readonly string[];
  readonly history?: string;
  readonly queryEncoder?: "model" | "table";
  readonly explain?: true;
  readonly origin?: true;
  readonly dashboards?: true;
  readonly json?: true;
}

/** Builds the command. */
export function searchCommand(): Command {
  return configuredCommand("search", ["opensearch.url", "model.path"])
    .description("Search an index by meaning and show which terms matched.")
    .argument("<question>", "what to look for")
    .requiredOption("--index <name>", "index, alias or pattern, or several with commas between")
    .option("--size <n>", "hits to show", parseSize, 10)
    .option("--from <n>", "hits to skip", parseSize, 0)
    .option("--sort <fields>", "by fields instead of score: year:desc,_score", parseSort)
    .option("--fields <names>", "fields of the documents to show, with commas between", parseNames)
    .option(
      "--aggs <file>",
      "aggregations over all matching documents: a file of DSL, - for standard input",
    )
    .option("--filter <dsl>", "OpenSearch query DSL as JSON that hits must satisfy", parseFilter)
    .addOption(new Option("--mode <mode>", "how to search").choices(searchModes).default("plain"))
    .option(
      "--expansion <factor>",
      "of what the model adds: 0 (the question's exact words) to 1 (query.expansion without it)",
      parseExpansion,
    )
    .option("--options <json>", "options of the mode, as JSON", parseJson)
    .option(
      "--rerank <n>",
      "let the reranker (rerank.model or rerank.remote) reorder the first n hits",
      parseReranked,
    )
    .option(
      "--turn <text>",
      "what was said before, a question or an answer; again for each, oldest first",
      (turn: string, before: readonly string[] | undefined) => [...(before ?? []), turn],
    )
    .option(
      "--history <file>",
      "the same in a file, a line for each turn, oldest first, - for standard input; before any --turn",
    )
    .addOption(
      new Option(
        "--query-encoder <encoder>",
        "model, or table: look weights up, no inference",
      ).choices(["model", "table"]),
    )
    .option("--explain", "show the query's terms and every matching term with both weights")
    .option(
      "--origin",
      "show the words of the text that each added term came from (encodes each hit up to 64 times again)",
    )
    .option("--dashboards", "search nothing; print a query to paste into Discover's Lucene bar")
    .option("--open", "search nothing; open the gateway's console at this question")
    .addOption(
      new Option("--output <form>", "how to print the answer").choices(outputs).default("text"),
    )
    .option("--query-id <id>", "with --output trec: id of the question in the run", "1")
    .option("--json", "the same as --output json")
    .addHelpText(
      "after",
      `
Each hit shows its ten strongest terms with what they add to the score; a term marked + is not
in the text: the model added it. All contributions together are the score (in mode hybrid: the
score of CSPLADE's own ranking).

Modes and their options:
  plain      every document that shares a term with the question
  two_phase  the question's own words find, what the model added rescores
             prune_type, prune_ratio, pagination_depth, expansion_rate, max_window_size
  ann        an approximate index finds (made by csplade ann), the learned weights rank
             k, top_n, heap_factor
  lexical    BM25 with the words that the model adds to the question, in any index: no vectors needed
             expansion (0 to 10, 0.5), text_fields
  hybrid     the rankings of BM25 and of the learned weights, fused
             technique (rrf, min_max), rank_constant, weights, pagination_depth, requests

Examples:
  csplade search --index wordnet "fear of closed spaces"
  csplade search --index wordnet --output table --from 10 "fear of closed spaces"
  csplade search --index wordnet --fields title --output ndjson "fear of heights" | jq .source
  csplade search --index wordnet --output trec --query-id q7 --size 1000 "fear of heights" > fear.run
  csplade search --index wordnet --filter '{"term":{"part_of_speech.keyword":"verb"}}' "to sleep"
  csplade search --index wordnet --mode hybrid --options '{"technique":"min_max"}' "fear of heights"
  csplade search --index wordnet --expansion 0 "fear of heights"
  csplade search --index wordnet --size 3 --origin "fear of closed spaces"
  csplade search --index wordnet --rerank 50 "a person who studies stars"
  csplade search --index wordnet --turn "a person who studies stars" "and one who studies rocks"
  csplade search --index wordnet --history asked.txt "and one who studies rocks"
  csplade search --index somebodys-logs --mode lexical "a disk is running out of space"
  csplade search --index wordnet --json "a person who studies stars" | jq '.hits[0].source.title'`,
    )
    .action(async (question: string, flags: SearchFlags, command: Command) => {
      const config = configOf(
        command.opts(),
        flags.queryEncoder === undefined ? {} : { "query.encoder": flags.queryEncoder },
      ).values;
      if (flags.open) {
        await openConsole(config, flags.index, question);
        return;
      }
      const history = await readHistory(flags);
      if (flags.dashboards && history !== undefined) {
        throw new CspladeError(
          "usage",
          "--dashboards prints a question alone, without --turn and --history.",
        );
      }
      const options = readModeOptions(flags.mode, flags.options ?? {});
      const body = await readSearchBody(flags);
      const cluster = connectCluster(config);
      let encoder: Encoder | undefined;
      let reranker: Reranker | undefined;
      try {
        reranker = (flags.rerank ?? 0) > 0 ? demandReranker(await openReranker(config)) : undefined;
        const opened = (encoder = await openQueryEncoder(config));
        await untilInterrupted(async (signal) => {
          const parts = { config, cluster, encoder: opened, reranker };
          const asked = {
            ...flags,
            ...parts,
            question,
            options,
            body,
            history,
            signal,
          };
          if (flags.dashboards) {
            const { query } = await searcherFor(asked).query(flags.index, question, {
              filter: flags.filter,
              expansion: flags.expansion,
            });
            printJson(query);
            return;
          }
          await print(asked, flags);
        });
      } finally {
        await reranker?.close();
        await encoder?.close();
        await cluster.close();
      }
    });
}

async function print(asked: Question, flags: SearchFlags): Promise<void> {
  const { fields, queryId } = flags;
  switch (flags.json ? "json" : flags.output) {
    case "text":
      printAnswer(await ask(asked), { explain: flags.explain === true, fields, from: flags.from });
      return;
    case "table":
      printTable(await ask(asked), { fields, from: flags.from });
      return;
    case "json":
      printLine(answerText(await ask(asked, "stored"), fields));
      return;
    case "ndjson":
      for (const line of hitLines(await ask(asked, "stored"), fields)) printLine(line);
      return;
    case "trec":
      printLine(runText(await ask(asked), queryId));
  }
}

/** @throws CspladeError `usage` for a file of aggregations that is none. */
async function readSearchBody({
  sort,
  aggs,
}: SearchFlags): Promise<Readonly<Record<string, unknown>>> {
  // With a sort the cluster leaves scores out unless it is asked for them.
  const sorted = sort === undefined ? {} : { sort, track_scores: true };
  return aggs === undefined ? sorted : { ...sorted, aggs: await readObject(aggs) };
}

/** @throws CspladeError `usage` for a file of turns that cannot be read, or that is standard input twice. */
async function readHistory({
  history: file,
  turn = [],
  aggs,
}: SearchFlags): Promise<readonly string[] | undefined> {
  if (file === undefined) return turn.length === 0 ? undefined : turn;
  if (file === "-" && aggs === "-") {
    throw new CspladeError(
      "usage",
      "Both --history and --aggs are to be read from standard input.",
    );
  }
  const stream = file === "-" ? process.stdin : createReadStream(file);
  try {
    return [...(await text(stream)).split(/\r?\n/), ...turn];
  } catch (cause) {
    throw new CspladeError("usage", `The turns in ${file} cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
}

async function readObject(file: string): Promise<object> {
  const stream = file === "-" ? process.stdin : createReadStream(file);
  try {
    const value: unknown = JSON.parse(await text(stream));
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return value;
    throw new SyntaxError("it is no JSON object");
  } catch (cause) {
    throw new CspladeError(
      "usage",
      `The aggregations in ${file} cannot be read: ${messageOf(cause)}`,
      {
        cause,
        hint: 'They are an object such as {"years":{"terms":{"field":"year"}}}, without "aggs" around it.',
      },
    );
  }
}

/**
 * Opens the console in the browser, and prints where it is for those who have none here.
 * @throws CspladeError `server_failed` if the gateway does not answer.
 */
async function openConsole(config: Config, index: string, question: string): Promise<void> {
  const { "gateway.host": host, "gateway.port": port } = config;
  const base = `http://${host === "0.0.0.0" ? "127.0.0.1" : host}:${port}`;
  const asked = new URLSearchParams({ question, index });
  const url = `${base}/_csplade/console?${asked.toString()}`;
  try {
    await fetch(`${base}/_csplade/health`, { signal: AbortSignal.timeout(5_000) });
  } catch (cause) {
    throw new CspladeError(
      "server_failed",
      `The gateway at ${base} does not answer: ${messageOf(cause)}`,
      {
        cause,
        hint: "Start it with csplade serve, or say where it is: CSPLADE_GATEWAY_HOST, CSPLADE_GATEWAY_PORT.",
      },
    );
  }
  printLine(url);
  const opener = await open(url);
  opener.on("error", () => {});
}

/**
 * Encodes and searches.
 * @throws CspladeError as {@link Searcher.search}.
 */
async function ask(asked: Question, source?: "stored"): Promise<Answer> {
  const { index, question, size, from, filter, mode, options, expansion } = asked;
  const { body, rerank, history, origin, signal } = asked;
  return await searcherFor(asked).search(index, question, {
    ...options,
    mode,
    size,
    from,
    filter,
    body,
    expansion,
    rerank,
    history,
    origin,
    explain: mode !== "lexical",
    ...(source === undefined ? {} : { source }),
    signal,
  });
}

function searcherFor({ config, cluster, encoder, reranker }: Question): Searcher {
  const pruning = {
    prune_type: config["query.prune_type"],
    prune_ratio: config["query.prune_ratio"],
  };
  return openSearcher({
    cluster,
    encoder,
    expansion: config["query.expansion"],
    history_decay: config["query.history_decay"],
    pruning,
    idf: config["query.idf"],
    idf_timeout_ms: config["query.idf_timeout_ms"],
    reranker,
    rerank_timeout_ms: config["rerank.timeout_ms"],
  });
}

/** {@link ask}, printed for people. */
export async function searchAndPrint(question: Question): Promise<void> {
  printAnswer(await ask(question));
}

function parseSize(text: string): number {
  const size = Number(text);
  if (Number.isInteger(size) && size >= 0 && size <= 10_000) return size;
  throw new InvalidArgumentError("It is a whole number from 0 to 10000.");
}

function parseExpansion(text: string): number {
  const named = { none: 0, all: 1 }[text];
  const factor = named ?? (text.trim() === "" ? NaN : Number(text));
  if (factor >= 0 && factor <= 1) return factor;
  throw new InvalidArgumentError("It is a factor from 0 to 1, none or all.");
}

/** `year:desc,_score` as the cluster takes it. */
function parseSort(text: string): object[] {
  return parseNames(text).map((part) => {
    const [, field = "", order = field === "_score" ? "desc" : "asc"] =
      /^(.+?)(?::(asc|desc))?$/.exec(part) ?? [];
    return { [field]: order };
  });
}

function parseNames(text: string): string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.every((name) => name !== "")) return names;
  throw new InvalidArgumentError("It is a list with commas between, such as title,year.");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new InvalidArgumentError(`It is not JSON: ${messageOf(thrown)}`);
  }
}

function parseFilter(text: string): QueryClause {
  const parsed = parseJson(text);
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) {
    throw new InvalidArgumentError('It is a JSON object such as {"term":{"lang":"en"}}.');
  }
  return parsed as QueryClause;
}
