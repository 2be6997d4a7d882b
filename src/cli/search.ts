/** `csplade search`: a question against an index, with the terms that matched. */
import { type Command, InvalidArgumentError } from "commander";
import pc from "picocolors";
import { connectCluster, type Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import { openEncoder, type Encoder } from "../encoder/encoder.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { readIndexModel, type IndexInfo } from "../index/csplade-index.js";
import { demandSameModel } from "../index/index-meta.js";
import { indexModelOf } from "../pipeline/index-model.js";
import { nameTerms, type ExplainedTerm } from "../query/explanation.js";
import type { QueryClause } from "../query/query-clause.js";
import { chooseDialect } from "../query/query-dialect.js";
import { translateQuery } from "../query/query-translator.js";
import { search } from "../query/search.js";
import type { Hit, SearchResult } from "../query/search-result.js";
import { searchedFields } from "../query/searched-fields.js";
import { prune } from "../sparse/prune.js";
import { EMPTY_VECTOR, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { readVocabulary, type Vocabulary } from "../sparse/vocabulary.js";
import { readTokenizerFile } from "../text/tokenizer.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine } from "./outcome.js";

/** Terms shown for each hit. */
const SHOWN_TERMS = 10;

/** A hit whose terms have names. */
export interface NamedHit extends Omit<Hit, "contributions"> {
  readonly terms: readonly ExplainedTerm[];
}

/** A search as asked on the command line. */
export interface Question {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly index: string;
  readonly question: string;
  readonly size: number;
  readonly filter?: QueryClause | undefined;
  readonly signal: AbortSignal;
}

/** What came back, ready to be shown. */
export interface Answer extends Omit<SearchResult, "hits"> {
  readonly question: string;
  readonly query_terms: readonly { id: number; term: string; weight: number }[];
  readonly truncated: boolean;
  readonly hits: readonly NamedHit[];
  readonly title_field: string;
  readonly text_fields: readonly string[];
}

interface SearchFlags {
  readonly index: string;
  readonly size: number;
  readonly filter?: QueryClause;
  readonly explain?: true;
  readonly dashboards?: true;
  readonly json?: true;
}

/** Builds the command. */
export function searchCommand(): Command {
  return configuredCommand("search", ["opensearch.url", "model.path"])
    .description("Search an index by meaning and show which terms matched.")
    .argument("<question>", "what to look for")
    .requiredOption("--index <name>", "index or alias")
    .option("--size <n>", "hits to show", parseSize, 10)
    .option("--filter <dsl>", "OpenSearch query DSL as JSON that hits must satisfy", parseFilter)
    .option("--explain", "show the query's terms and every matching term with both weights")
    .option("--dashboards", "search nothing; print a query to paste into Discover's Lucene bar")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Each hit shows its ten strongest terms with what they add to the score; a term marked + is not
in the text: the model added it. All contributions together are the score.

Examples:
  csplade search --index wordnet "fear of closed spaces"
  csplade search --index wordnet --filter '{"term":{"part_of_speech.keyword":"verb"}}' "to sleep"
  csplade search --index wordnet --json "a person who studies stars" | jq '.hits[0].source.title'`,
    )
    .action(async (question: string, flags: SearchFlags, command: Command) => {
      const config = configOf(command.opts()).values;
      const cluster = connectCluster(config);
      try {
        const encoder = await openEncoder(config);
        try {
          await untilInterrupted(async (signal) => {
            if (flags.dashboards) {
              printJson(await queryFor({ config, cluster, encoder, question, signal, ...flags }));
              return;
            }
            const answer = await ask({ config, cluster, encoder, question, signal, ...flags });
            if (flags.json) printJson(answer);
            else printAnswer(answer, flags.explain === true);
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
 * @throws CspladeError `model_mismatch` if the index is of another model, and what
 *   {@link search} throws.
 */
async function ask(question: Question): Promise<Answer> {
  const { cluster, encoder, index, signal } = question;
  const { info, vector, truncated } = await encodeQuestion(question);
  const { hits, ...result } = await search(cluster, {
    index,
    vector,
    size: question.size,
    filter: question.filter,
    explain: true,
    ...searchedFields(info.passages),
    signal,
  });
  const vocabulary = readVocabulary(readTokenizerFile(encoder.checkpoint.tokenizerFile));
  return {
    question: question.question,
    ...result,
    query_terms: namedTerms(vector, vocabulary),
    truncated,
    title_field: info.title_field,
    text_fields: info.text_fields,
    hits: await nameHits(encoder, vocabulary, hits, info, signal),
  };
}

/** The question as one query with its weights in it, for who searches without csplade. */
async function queryFor(question: Question): Promise<QueryClause> {
  const { info, vector } = await encodeQuestion(question);
  const capabilities = await question.cluster.capabilities();
  return translateQuery({
    vector,
    dialect: chooseDialect(capabilities),
    fields: searchedFields(info.passages).fields,
    filter: question.filter,
    max_clause_count: capabilities.max_clause_count,
  }).query;
}

async function encodeQuestion({
  config,
  cluster,
  encoder,
  index,
  question,
  signal,
}: Question): Promise<{ info: IndexInfo; vector: SparseVector; truncated: boolean }> {
  const info = await readIndexModel(cluster, index, { signal });
  demandSameModel(info.model, indexModelOf(encoder.manifest), index);
  const [encoded] = await encoder.encodeQueries([question], { signal });
  if (encoded?.failure !== undefined) {
    throw new CspladeError("encode_failed", `The question cannot be encoded: ${encoded.failure}`);
  }
  const vector = prune(encoded?.passages[0]?.vector ?? EMPTY_VECTOR, {
    prune_type: config["query.prune_type"],
    prune_ratio: config["query.prune_ratio"],
  });
  return { info, vector, truncated: encoded?.truncated ?? false };
}

/** {@link ask}, printed for people. */
export async function searchAndPrint(question: Question): Promise<void> {
  printAnswer(await ask(question), false);
}

function namedTerms(vector: SparseVector, vocabulary: Vocabulary): Answer["query_terms"] {
  return [...termsOf(vector)].map(([id, weight]) => ({ id, term: vocabulary.term(id), weight }));
}

async function nameHits(
  encoder: Encoder,
  vocabulary: Vocabulary,
  hits: readonly Hit[],
  info: IndexInfo,
  signal: AbortSignal,
): Promise<NamedHit[]> {
  const texts = hits.map((hit) => textOf(hit, info.text_fields));
  const tokens = await encoder.tokenize(texts, { signal });
  return hits.map(({ contributions, ...hit }, index) => ({
    ...hit,
    terms: nameTerms(contributions, (id) => vocabulary.term(id), new Set(tokens[index])),
  }));
}

function textOf(hit: Pick<Hit, "source">, fields: readonly string[]): string {
  return fields
    .flatMap((field) => hit.source[field])
    .filter((value) => typeof value === "string")
    .join(" ");
}

function printAnswer(answer: Answer, explain: boolean): void {
  for (const note of answer.notes) printLine(pc.yellow(note));
  if (answer.truncated)
    printLine(pc.yellow("The question is longer than the model reads; its end was cut off."));
  if (explain) {
    const terms = answer.query_terms.map(({ term, weight }) => `${term} ${weight.toFixed(2)}`);
    printLine(`${pc.dim("query:")} ${terms.join(pc.dim(" · "))}`);
  }
  if (answer.hits.length === 0) printLine("No document matches.");
  answer.hits.forEach((hit, index) => printHit(hit, index + 1, answer, explain));
  const about = answer.total_relation === "gte" ? "more than " : "";
  printLine(
    pc.dim(
      `${about}${answer.total} documents match; ${answer.took_ms} ms in the cluster (${answer.dialect})`,
    ),
  );
}

function printHit(hit: NamedHit, rank: number, answer: Answer, explain: boolean): void {
  const title = hit.source[answer.title_field];
  const heading = typeof title === "string" ? title : hit.id;
  printLine(
    `${String(rank).padStart(2)}. ${pc.bold(heading)}  ${pc.cyan(hit.score.toFixed(3))}  ${pc.dim(hit.id)}`,
  );
  const text = textOf(
    hit,
    answer.text_fields.filter((field) => field !== answer.title_field),
  );
  if (text !== "") printLine(`    ${text.length > 160 ? `${text.slice(0, 159)}…` : text}`);
  if (explain) {
    for (const term of hit.terms) {
      printLine(
        `    ${marked(term).padEnd(22)} ${term.query_weight.toFixed(3)} × ${term.document_weight.toFixed(3)} = ` +
          pc.cyan(term.contribution.toFixed(3)),
      );
    }
    return;
  }
  const shown = hit.terms
    .slice(0, SHOWN_TERMS)
    .map((term) => `${marked(term)} ${pc.cyan(term.contribution.toFixed(2))}`);
  const rest = hit.terms.slice(SHOWN_TERMS);
  const sum = rest.reduce((total, term) => total + term.contribution, 0);
  if (rest.length > 0) shown.push(pc.dim(`${rest.length} more ${sum.toFixed(2)}`));
  printLine(`    ${shown.join(pc.dim(" · "))}`);
}

/** Expansions carry a +, so that it shows without colour. */
function marked(term: ExplainedTerm): string {
  return term.literal ? term.term : `+${term.term}`;
}

function parseSize(text: string): number {
  const size = Number(text);
  if (Number.isInteger(size) && size >= 0 && size <= 10_000) return size;
  throw new InvalidArgumentError("It is a whole number from 0 to 10000.");
}

function parseFilter(text: string): QueryClause {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (thrown) {
    throw new InvalidArgumentError(`It is not JSON: ${messageOf(thrown)}`);
  }
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) {
    throw new InvalidArgumentError('It is a JSON object such as {"term":{"lang":"en"}}.');
  }
  return parsed as QueryClause;
}
