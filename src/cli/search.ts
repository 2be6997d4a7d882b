/** `csplade search`: a question against an index, with the terms that matched. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { connectCluster, type Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { openQueryEncoder } from "../encoder/query-encoder.js";
import { messageOf } from "../errors/csplade-error.js";
import { JsonObject } from "../json/json-object.js";
import { readModeOptions, type ModeOptions } from "../query/mode-options.js";
import type { QueryClause } from "../query/query-clause.js";
import { searchModes, type SearchMode } from "../query/search-mode.js";
import { openSearcher, type Answer, type Searcher } from "../searcher/searcher.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine } from "./outcome.js";
import { printAnswer } from "./search-output.js";

/** A search as asked on the command line. */
export interface Question {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly index: string;
  readonly question: string;
  readonly size: number;
  readonly filter?: QueryClause | undefined;
  /** `plain` without it. */
  readonly mode?: SearchMode | undefined;
  readonly options?: ModeOptions | undefined;
  readonly signal: AbortSignal;
}

interface SearchFlags {
  readonly index: string;
  readonly size: number;
  readonly filter?: QueryClause;
  readonly mode: SearchMode;
  readonly options?: unknown;
  readonly queryEncoder?: "model" | "table";
  readonly explain?: true;
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
    .option("--filter <dsl>", "OpenSearch query DSL as JSON that hits must satisfy", parseFilter)
    .addOption(new Option("--mode <mode>", "how to search").choices(searchModes).default("plain"))
    .option("--options <json>", "options of the mode, as JSON", parseJson)
    .addOption(
      new Option(
        "--query-encoder <encoder>",
        "model, or table: look weights up, no inference",
      ).choices(["model", "table"]),
    )
    .option("--explain", "show the query's terms and every matching term with both weights")
    .option("--dashboards", "search nothing; print a query to paste into Discover's Lucene bar")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Each hit shows its ten strongest terms with what they add to the score; a term marked + is not
in the text: the model added it. All contributions together are the score (in mode hybrid: the
score of CSPLADE's own ranking).

Modes and their options:
  plain      every document that shares a term with the question
  two_phase  the heavy terms find, the light ones rescore
             prune_type, prune_ratio, expansion_rate, max_window_size
  guided     BM25 finds, the learned weights rank
             window_size, query_weight, rescore_query_weight
  ann        an approximate index finds (made by csplade ann), the learned weights rank
             k, top_n, heap_factor
  hybrid     the rankings of BM25 and of the learned weights, fused
             technique (rrf, min_max), rank_constant, weights, pagination_depth, requests

Examples:
  csplade search --index wordnet "fear of closed spaces"
  csplade search --index wordnet --filter '{"term":{"part_of_speech.keyword":"verb"}}' "to sleep"
  csplade search --index wordnet --mode hybrid --options '{"technique":"min_max"}' "fear of heights"
  csplade search --index wordnet --json "a person who studies stars" | jq '.hits[0].source.title'`,
    )
    .action(async (question: string, flags: SearchFlags, command: Command) => {
      const config = configOf(
        command.opts(),
        flags.queryEncoder === undefined ? {} : { "query.encoder": flags.queryEncoder },
      ).values;
      const options = readModeOptions(flags.mode, flags.options ?? {});
      const cluster = connectCluster(config);
      try {
        const encoder = await openQueryEncoder(config);
        try {
          await untilInterrupted(async (signal) => {
            const asked = { ...flags, config, cluster, encoder, question, options, signal };
            if (flags.dashboards) {
              const { query } = await searcherFor(asked).query(flags.index, question, {
                filter: flags.filter,
              });
              printJson(query);
              return;
            }
            if (flags.json) printLine(answerText(await ask(asked, "stored")));
            else printAnswer(await ask(asked), flags.explain === true);
          });
        } finally {
          await encoder.close();
        }
      } finally {
        await cluster.close();
      }
    });
}

/**
 * Encodes and searches.
 * @throws CspladeError as {@link Searcher.search}.
 */
async function ask(asked: Question, source?: "stored"): Promise<Answer> {
  const { index, question, size, filter, mode, options, signal } = asked;
  return await searcherFor(asked).search(index, question, {
    ...options,
    mode,
    size,
    filter,
    explain: true,
    ...(source === undefined ? {} : { source }),
    signal,
  });
}

/** An answer as JSON, in which each `source` is the document's own text. */
function answerText({ hits, ...answer }: Answer): string {
  const texts = hits.map(({ source, source_text, ...hit }) =>
    JsonObject.of(hit).with([["source", source_text ?? JSON.stringify(source)]]),
  );
  return JsonObject.of(answer).with([["hits", `[${texts.join(",")}]`]]);
}

function searcherFor({ config, cluster, encoder }: Question): Searcher {
  const pruning = {
    prune_type: config["query.prune_type"],
    prune_ratio: config["query.prune_ratio"],
  };
  return openSearcher({
    cluster,
    encoder,
    pruning,
    idf: config["query.idf"],
    idf_timeout_ms: config["query.idf_timeout_ms"],
  });
}

/** {@link ask}, printed for people. */
export async function searchAndPrint(question: Question): Promise<void> {
  printAnswer(await ask(question), false);
}

function parseSize(text: string): number {
  const size = Number(text);
  if (Number.isInteger(size) && size >= 0 && size <= 10_000) return size;
  throw new InvalidArgumentError("It is a whole number from 0 to 10000.");
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
