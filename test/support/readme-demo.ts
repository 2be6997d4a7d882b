/** The output of `csplade demo` that stands in README.md: written and compared by the same code. */

/** The block of README.md: what stands between its fences. */
const BLOCK = /(```text\n)(Indexing [^]*?)(```\n)/;

/** The demo's output in README.md. */
export function shownOutput(readme: string): string {
  return BLOCK.exec(readme)?.[2] ?? "";
}

/** README.md with another output of the demo. */
export function withOutput(readme: string, output: string): string {
  if (!BLOCK.test(readme)) throw new Error("README.md shows no output of the demo.");
  return readme.replace(BLOCK, (_, open: string, __, close: string) => open + output + close);
}

/** Of what the demo prints, what README.md shows. */
export function worthShowing(printed: string): string {
  const start = printed.indexOf("Indexing ");
  const end = printed.indexOf("\nThe servers go on.");
  if (start < 0 || end < 0) throw new Error(`The demo did not come to its end:\n${printed}`);
  return printed.slice(start, end).replace(/\S*\/demo\/wordnet\.ndjson/, "wordnet.ndjson");
}

/**
 * What must be the same each time: the questions, the documents in their order, how many were written, the
 * model. Times are those of a machine, and so are the last digits of weights.
 */
export function comparable(output: string): string[] {
  return output.split("\n").flatMap((line) => {
    const [, hit] = /^ ?(\d+\. .*?) {2}[\d.]+ {2}\S+$/.exec(line) ?? [];
    const [, counts] = /^(wordnet: .* failed) in /.exec(line) ?? [];
    const [, model] = / (model \S+)$/.exec(line) ?? [];
    const known = hit ?? counts ?? model ?? (/^(\$ |Indexing )/.test(line) ? line : undefined);
    return known === undefined ? [] : [known];
  });
}
