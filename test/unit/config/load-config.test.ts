import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { loadConfig } from "../../../src/config/load-config.js";

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
});
