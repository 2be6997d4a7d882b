import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { inspect } from "node:util";
import { loadConfig } from "../../../src/config/load-config.js";
import { saveSettings } from "../../../src/config/save-settings.js";

describe("storing settings", () => {
  let folder: string;
  let file: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-save-"));
    file = path.join(folder, "csplade.yaml");
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("makes the file where there is none", () => {
    saveSettings(file, { "model.threads": 3, "model.token_budget": 1024 });
    const { values } = loadConfig({ env: {}, file });
    assert.equal(values["model.threads"], 3);
    assert.equal(values["model.token_budget"], 1024);
    assert.deepEqual(readdirSync(folder), ["csplade.yaml"]);
  });

  it("keeps comments and what others set, and changes a name as it is written", () => {
    writeFileSync(
      file,
      "# ours\nmodel:\n  threads: 2 # why\nmodel.sessions: 1\nredis:\n  prefix: p\n",
    );
    saveSettings(file, { "model.threads": 4, "model.sessions": 2 });
    assert.equal(
      readFileSync(file, "utf8"),
      "# ours\nmodel:\n  threads: 4 # why\nmodel.sessions: 2\nredis:\n  prefix: p\n",
    );
  });

  it("leaves the file alone if it would not be valid, or is none", () => {
    for (const before of [
      "redis:\n  prefix: p\n",
      "- a list\n",
      "model: [broken\n",
      "model: 3\n",
    ]) {
      writeFileSync(file, before);
      assert.throws(() => saveSettings(file, { "model.threads": -1 }), { code: "config_invalid" });
      assert.equal(readFileSync(file, "utf8"), before);
      assert.deepEqual(readdirSync(folder), ["csplade.yaml"]);
    }
  });

  it("keeps the file's mode, and makes a new one for its owner alone", () => {
    saveSettings(file, { "model.threads": 3 });
    assert.equal(statSync(file).mode & 0o777, 0o600);
    for (const mode of [0o600, 0o640, 0o644]) {
      chmodSync(file, mode);
      saveSettings(file, { "model.threads": mode % 500 });
      assert.equal(statSync(file).mode & 0o777, mode);
    }
  });

  it("says which line is wrong and never what stands in it", () => {
    writeFileSync(file, "model:\n  threads: 2\nopensearch:\n  password: 'hunter2 broken\n");
    for (const use of [() => loadConfig({ env: {}, file }), () => saveSettings(file, {})]) {
      assert.throws(use, (thrown: Error) => {
        assert.match(thrown.message, /not valid YAML: \w+ in line \d/);
        assert.ok(!inspect(thrown, { depth: 9 }).includes("hunter2"));
        return true;
      });
    }
  });

  it("masks a password in a URL that is refused", () => {
    const flags = { "opensearch.url": "ftp://me:hunter2@host" };
    assert.throws(
      () => loadConfig({ env: {}, flags }),
      (thrown: Error) =>
        /ftp:\/\/\(hidden\)@host/.test(thrown.message) && !/hunter2/.test(thrown.message),
    );
  });

  it("says where it cannot write", () => {
    const nowhere = path.join(folder, "none", "csplade.yaml");
    assert.throws(() => saveSettings(nowhere, { "model.threads": 1 }), /cannot be written/);
    assert.ok(!existsSync(nowhere));
  });
});
