/** `csplade encode`: shows the term weights of texts. */
import { Command } from "commander";
import pc from "picocolors";
import { CspladeError } from "../errors/csplade-error.js";
import { openEncoder, type Encoder } from "../encoder/encoder.js";
import { termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { termNames, type TermNames } from "../sparse/term-names.js";
import { readVocabulary } from "../sparse/vocabulary.js";
import { readTokenizerFile } from "../text/tokenizer.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine } from "./outcome.js";

interface EncodeFlags {
  readonly query?: true;
  readonly json?: true;
  readonly top?: string;
}

/** Builds the command. */
export function encodeCommand(): Command {
  return configuredCommand("encode", ["model.path"])
    .description("Show the weighted terms a text is turned into.")
    .argument("<text...>", "one or several texts")
    .option("--query", "encode as a query (without it: as a document)")
    .option("--top <n>", "terms to show per text", "20")
    .option("--json", "one JSON line per text: {text, truncated, terms: [{id, term, weight}]}")
    .addHelpText(
      "after",
      '\nExamples:\n  csplade encode "fear of closed spaces"\n  csplade encode --query --json "boundary layer" | jq .terms',
    )
    .action(async (texts: string[], flags: EncodeFlags, command: Command) => {
      const top = Number(flags.top);
      if (!Number.isInteger(top) || top < 1) {
        throw new CspladeError(
          "usage",
          `--top must be a whole number ≥ 1, not ${flags.top ?? ""}.`,
        );
      }
      const config = configOf(command.opts()).values;
      const encoder = await openEncoder(config);
      try {
        await untilInterrupted((signal) => encodeTexts(encoder, texts, flags, top, signal));
      } finally {
        await encoder.close();
      }
    });
}

async function encodeTexts(
  encoder: Encoder,
  texts: readonly string[],
  flags: EncodeFlags,
  top: number,
  signal: AbortSignal,
): Promise<void> {
  const vocabulary = readVocabulary(readTokenizerFile(encoder.checkpoint.tokenizerFile));
  const encoded = flags.query
    ? await encoder.encodeQueries(texts, { signal })
    : await encoder.encodeDocuments(texts, { signal, words: true });
  encoded.forEach((result, index) => {
    const text = texts[index] ?? "";
    if (flags.json) {
      for (const passage of result.passages) {
        const names = termNames(vocabulary, passage.words);
        const terms = [...termsOf(passage.vector)].map(([id, weight]) => ({
          id,
          term: names.term(id),
          weight,
        }));
        printJson({
          text: text.slice(passage.start, passage.end),
          truncated: result.truncated,
          failure: result.failure,
          terms,
        });
      }
      return;
    }
    printLine(pc.bold(text.length > 100 ? `${text.slice(0, 99)}…` : text));
    if (result.failure !== undefined) printLine(pc.red(`  ${result.failure}`));
    for (const { vector, words } of result.passages) {
      printTerms(vector, termNames(vocabulary, words), top);
    }
  });
}

function printTerms(vector: SparseVector, names: TermNames, top: number): void {
  const shown = [...termsOf(vector)].slice(0, top);
  const heaviest = shown[0]?.[1] ?? 1;
  for (const [id, weight] of shown) {
    const bar = "█".repeat(Math.max(1, Math.round((20 * weight) / heaviest)));
    printLine(`  ${names.term(id).padEnd(20)} ${weight.toFixed(3).padStart(7)}  ${pc.cyan(bar)}`);
  }
  const rest = vector.ids.length - shown.length;
  if (rest > 0) printLine(pc.dim(`  … ${rest} more terms`));
}
