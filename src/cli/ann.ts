/** `csplade ann`: a copy of an index that can be searched approximately. */
import { type Command, InvalidArgumentError } from "commander";
import { connectCluster } from "../cluster/cluster.js";
import { makeAnnIndex, type SeismicParameters } from "../index/ann-index.js";
import { bulkWriterOptions, createBulkWriter } from "../cluster/bulk-writer.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine, printNote } from "./outcome.js";

interface AnnFlags {
  readonly into: string;
  readonly nPostings?: number;
  readonly clusterRatio?: number;
  readonly summaryPruneRatio?: number;
  readonly approximateThreshold?: number;
  readonly json?: true;
}

/** Builds the command. */
export function annCommand(): Command {
  return configuredCommand("ann", ["opensearch.url"])
    .description(
      "Copy an index into one that is searched approximately (OpenSearch 3.3 and later).",
    )
    .argument("<index>", "index that csplade made")
    .requiredOption("--into <name>", "new index")
    .option("--n-postings <n>", "documents kept for each term", parsePositive)
    .option("--cluster-ratio <share>", "clusters per document of a term", parsePositive)
    .option(
      "--summary-prune-ratio <share>",
      "share of weight kept in a cluster's summary",
      parsePositive,
    )
    .option(
      "--approximate-threshold <n>",
      "documents from which a segment is approximate",
      parseCount,
    )
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
The copy has every field of the index and one more, csplade_ann, for mode ann of csplade search.
Its token ids are numbered below 32,768, where that field tells them apart; the numbering is kept
in the mapping. csplade ingest into the copy goes on filling both fields.

OpenSearch builds the approximate structure when it flushes or merges a segment that has at least
--approximate-threshold documents (1,000,000 unless given); smaller ones are searched exactly.

Examples:
  csplade ann articles --into articles-ann --approximate-threshold 10000
  csplade search --index articles-ann --mode ann "fear of closed spaces"`,
    )
    .action(async (index: string, flags: AnnFlags, command: Command) => {
      const { values } = configOf(command.opts());
      const cluster = connectCluster(values);
      try {
        const summary = await untilInterrupted(async (signal) => {
          const writer = createBulkWriter(cluster, { ...bulkWriterOptions(values), signal });
          try {
            return await makeAnnIndex(cluster, writer, {
              from: index,
              into: flags.into,
              parameters: parametersOf(flags),
              signal,
            });
          } finally {
            await writer.close();
          }
        });
        if (flags.json) {
          printJson(summary);
          return;
        }
        printLine(
          `${summary.documents} documents in ${flags.into}; ${summary.live_ids} terms, ` +
            `the heaviest weighs ${summary.heaviest_weight.toFixed(2)}`,
        );
        if (summary.unnumbered_ids > 0) {
          printNote(
            `${summary.unnumbered_ids} of the rarest terms cannot find documents here; they still rank.`,
          );
        }
      } finally {
        await cluster.close();
      }
    });
}

function parametersOf(flags: AnnFlags): SeismicParameters {
  return {
    n_postings: flags.nPostings,
    cluster_ratio: flags.clusterRatio,
    summary_prune_ratio: flags.summaryPruneRatio,
    approximate_threshold: flags.approximateThreshold,
  };
}

function parsePositive(text: string): number {
  const value = Number(text);
  if (value > 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("It is a number above 0.");
}

function parseCount(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError("It is a whole number of at least 0.");
}
