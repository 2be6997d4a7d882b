import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { loadConfig } from "../../../src/config/load-config.js";
import type { SettingName } from "../../../src/config/settings.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { prune, pruneTypes } from "../../../src/sparse/prune.js";
import { vectors } from "../sparse/arbitrary-vector.js";

describe("the configuration", () => {
  let folder: string;
  before(() => (folder = mkdtempSync(path.join(os.tmpdir(), "csplade-config-"))));
  after(() => rmSync(folder, { recursive: true }));
  const file = (text: string) => {
    const name = path.join(folder, "csplade.yaml");
    writeFileSync(name, text);
    return name;
  };

  it("takes a flag over the environment over the file over the default, and says which", () => {
    const named = file("model:\n  threads: 2\n  sessions: 2\nredis:\n  prefix: mine\n");
    const { values, origins } = loadConfig({
      file: named,
      env: { CSPLADE_THREADS: "3", CSPLADE_SESSIONS: "3" },
      flags: { "model.threads": 4 },
    });
    assert.equal(values["model.threads"], 4);
    assert.equal(origins["model.threads"], "flag");
    assert.equal(values["model.sessions"], 3);
    assert.equal(origins["model.sessions"], "environment CSPLADE_SESSIONS");
    assert.equal(values["redis.prefix"], "mine");
    assert.equal(origins["redis.prefix"], "file csplade.yaml");
    assert.equal(origins["write.max_bytes"], "default");
  });

  it("refuses a value out of range with the setting's name and origin", () => {
    assert.throws(() => loadConfig({ env: { CSPLADE_THREADS: "many" } }), {
      code: "config_invalid",
      message: /model\.threads = "many" \(environment CSPLADE_THREADS\)/,
    });
  });

  it("refuses a name that is no setting, and never shows a secret", () => {
    assert.throws(
      () => loadConfig({ env: {}, file: file("modle:\n  threads: 2\n") }),
      /modle\.threads/,
    );
    assert.throws(
      () => loadConfig({ env: { REDIS_URL: "http://user:hunter2@example.org" } }),
      (error: Error) => !error.message.includes("hunter2"),
    );
  });

  const refusals: [flags: Partial<Record<SettingName, unknown>>, message: RegExp][] = [
    [
      { "document.prune_type": "top_k" },
      /document\.prune_ratio = 0 \(default\).*top_k.*whole number of at least 1/,
    ],
    [
      { "document.prune_type": "max_ratio", "document.prune_ratio": "5" },
      /document\.prune_ratio = 5 \(flag\).*max_ratio.*at least 0 and below 1/,
    ],
    [{ "query.prune_type": "top_k", "query.prune_ratio": 1.5 }, /query\.prune_ratio = 1\.5/],
    [{ "document.prune_type": "alpha_mass" }, /document\.prune_ratio = 0.*above 0 and below 1/],
    [{ "opensearch.password": "hunter2" }, /opensearch\.password = \(hidden\)/],
    [{ "opensearch.aws_service": "aoss" }, /opensearch\.aws_service = "aoss".*aws_region/],
    [
      { "opensearch.aws_region": "eu-central-1", "opensearch.username": "admin" },
      /opensearch\.aws_region = "eu-central-1"/,
    ],
    [{ "ingest.text_fields": "text,title,text" }, /ingest\.text_fields.*twice/],
    [{ "write.max_wait_ms": true }, /write\.max_wait_ms = true/],
    [{ "write.concurrency": " " }, /write\.concurrency = " "/],
  ];
  for (const [flags, message] of refusals) {
    it(`refuses what can never work: ${JSON.stringify(flags)}`, () => {
      assert.throws(() => loadConfig({ env: {}, flags }), { code: "config_invalid", message });
    });
  }

  it("prunes any vector by any pruning that it accepts", () => {
    const ratio = fc.oneof(
      fc.double({ noNaN: false }),
      fc.integer(),
      fc.double({ min: 0, max: 1 }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...pruneTypes), ratio, vectors(), (type, value, vector) => {
        for (const side of ["document", "query"] as const) {
          try {
            const { values } = loadConfig({
              env: {},
              flags: { [`${side}.prune_type`]: type, [`${side}.prune_ratio`]: value },
            });
            const prune_type = values[`${side}.prune_type`];
            const prune_ratio = values[`${side}.prune_ratio`];
            prune(vector, { prune_type, prune_ratio });
          } catch (thrown) {
            assert(thrown instanceof CspladeError);
            assert.match(thrown.message, /^The setting (document|query)\.prune_ratio/);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it("takes a section of the file without values for no setting", () => {
    assert.equal(
      loadConfig({ env: {}, file: file("document:\n") }).origins["document.prune_type"],
      "default",
    );
  });
});
