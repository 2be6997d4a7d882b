import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { format } from "prettier";
import { describeMachine, readReport } from "../../../bench/bench-report.js";
import { resultsPage } from "../../../bench/results-page.js";
import { packageRoot } from "../../../src/config/package-root.js";

describe("bench/RESULTS.md", () => {
  const folder = path.join(packageRoot, "bench", "results");
  const page = readFileSync(path.join(packageRoot, "bench", "RESULTS.md"), "utf8");
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const reports = names.map((name) => readReport(path.join(folder, name)));

  it("has a section for every report, with its command, commit and tables as they are made", async () => {
    for (const report of reports) {
      const alone = await format(resultsPage([report]), { parser: "markdown", printWidth: 100 });
      const start = alone.indexOf(`## ${report.title}`);
      const section = alone.slice(start, alone.indexOf("## Measured elsewhere"));
      assert.ok(start > 0 && page.includes(section.trimEnd()), `${report.bench} is out of date`);
      assert.ok(section.includes(report.command) && section.includes(report.machine.commit));
    }
  });

  it("says where the machine was busy", () => {
    const at = (load_before: number) =>
      resultsPage([
        {
          format: 1,
          bench: "example",
          title: "An example",
          command: "npm run bench:example",
          machine: { ...describeMachine(), cores: 4, load_before },
          tables: [],
          figures: {},
        },
      ]);
    assert.match(at(8), /The machine was busy/);
    assert.doesNotMatch(at(0.2), /The machine was busy/);
  });
});
