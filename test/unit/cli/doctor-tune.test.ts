import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { loadConfig } from "../../../src/config/load-config.js";
import { csplade } from "../../support/csplade-command.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";

describe("csplade doctor --tune", function () {
  this.timeout(120_000);
  let folder: string;
  before(() => (folder = mkdtempSync(path.join(os.tmpdir(), "csplade-tune-"))));
  after(() => rmSync(folder, { recursive: true }));
  const tune = (...more: string[]) =>
    csplade(["doctor", "--tune", "--seconds", "1", "--model", tinyCheckpoint("bi"), ...more]);

  it("stores what it found beside what the file already says", async () => {
    const file = path.join(folder, "csplade.yaml");
    writeFileSync(file, "# mine\nredis:\n  prefix: p\n");
    const end = await tune("--json", "--write", file);
    assert.equal(end.status, 0, end.output);
    const { settings, tuning } = JSON.parse(end.output.trim().split("\n").at(-1)!) as {
      settings: Record<string, number>;
      tuning: { best: { sessions: number; threads: number; token_budget: number } };
    };
    const { values } = loadConfig({ env: {}, file });
    assert.equal(values["model.sessions"], settings["model.sessions"]);
    assert.equal(values["model.threads"], tuning.best.threads);
    assert.equal(values["model.token_budget"], tuning.best.token_budget);
    assert.match(readFileSync(file, "utf8"), /^# mine\nredis:\n {2}prefix: p\n/);
  });

  it("prints a table and stores nothing unless told where", async () => {
    const end = await tune();
    assert.equal(end.status, 0, end.output);
    assert.match(end.output, /sessions +threads +token budget +tokens\/s/);
    assert.match(end.output, /model\.token_budget: \d+/);
    assert.match(end.output, /--write FILE/);
    assert.ok(!existsSync("csplade.yaml"));
  });

  it("refuses --write alone", async () => {
    const end = await csplade(["doctor", "--write", path.join(folder, "x.yaml")]);
    assert.equal(end.status, 2, end.output);
    assert.match(end.output, /--write goes with --tune/);
  });
});
