/** bench/RESULTS.md: every report as a section with its command, machine, versions and tables. */
import { machineLine, markdownTable, type BenchReport } from "./bench-report.js";

/** Load per core from which on a machine counts as busy. */
const BUSY = 0.25;

/** What is measured elsewhere, and by which command. */
const ELSEWHERE = [
  ["README.md, docs/experiments.md", "quality beside BM25", "`csplade eval --data FOLDER --json`"],
  ["docs/reindexing-chaos.md", "what failures cost", "`npm run chaos -- --documents N --rounds 10`"],
  ["docs/reindexing-soak.md", "hours of reindexing", "`npm run soak`"],
  ["docs/scale.md", "100 million documents, computed", "`node dist/bench/measure-reindex-rates.js`"],
] as const; // prettier-ignore

/** The page, in Markdown. */
export function resultsPage(reports: readonly BenchReport[]): string {
  const sections = reports.map((report) => {
    const { machine } = report;
    const busy = machine.load_before > BUSY * machine.cores;
    return [
      `## ${report.title}`,
      `Made by \`${report.command}\` on ${machineLine(report)}.`,
      ...(busy
        ? [
            "**The machine was busy with other work:** ratios are of rounds in turn and hold; absolute figures are too low.",
          ]
        : []),
      ...report.tables.flatMap((table) => [`### ${table.title}`, markdownTable(table)]),
    ].join("\n\n");
  });
  return [
    "# Results of the benchmarks",
    "Made by `npm run bench` (minutes) or `npm run bench:full`; `npm run bench -- --only NAME` measures one " +
      "again. Speed is a ratio: what is compared took turns in one run on the same cores.",
    ...sections,
    "## Measured elsewhere",
    markdownTable({
      title: "",
      columns: ["page", "what", "command"],
      rows: ELSEWHERE.map((row) => [...row]),
    }),
    "",
  ].join("\n\n");
}
