import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import {
  commandOf,
  describeMachine,
  machineLine,
  markdownTable,
  readReport,
  writeReport,
} from "../../../bench/bench-report.js";

describe("reports of benchmarks", () => {
  it("come back from their file as they were written", async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), "csplade-report-"));
    try {
      const report = {
        format: 1 as const,
        bench: "example",
        title: "An example",
        command: "npm run bench:example",
        machine: describeMachine({ redis: "7.0.15" }),
        tables: [{ title: "t", columns: ["mode", "ms:"], rows: [["plain", "1.0"]], notes: ["n"] }],
        figures: { ms: 1 },
      };
      await writeReport(path.join(folder, "r.json"), report);
      assert.deepEqual(readReport(path.join(folder, "r.json")), report);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it("name cores, versions and commit in one line", () => {
    const line = machineLine({ machine: describeMachine({ opensearch: "3.6.0" }) });
    assert.match(line, /^\d+ cores of .*; Node [\d.]+, opensearch 3\.6\.0; commit \w+\+?; \d{4}-/);
  });

  it("name the command with the flags of the run, and nothing of the machine it ran on", () => {
    const typed = "--documents 1000 --keep --data /tmp/x/cacm --folder /tmp/y --json /tmp/z".split(
      " ",
    );
    assert.equal(
      commandOf("bench:size", typed),
      "npm run bench:size -- --documents 1000 --data cacm",
    );
    assert.equal(commandOf("bench:size", []), "npm run bench:size");
  });

  it("set numbers right and keep a bar inside its cell", () => {
    assert.equal(
      markdownTable({
        title: "",
        columns: ["a|b", "n:"],
        rows: [["x", "1"]],
        notes: ["So it is."],
      }),
      "| a\\|b | n |\n| --- | ---: |\n| x | 1 |\n\nSo it is.",
    );
  });
});
