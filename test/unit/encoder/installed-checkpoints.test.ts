import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { packageRoot } from "../../../src/config/package-root.js";
import { installedCheckpoints } from "../../../src/encoder/installed-checkpoints.js";

describe("installed checkpoints", () => {
  it("are the shipped ones, each with its languages and a row of docs/models.md", () => {
    const found = installedCheckpoints(path.join(packageRoot, "models"));
    assert.ok(found.length >= 3);
    const page = readFileSync(path.join(packageRoot, "docs", "models.md"), "utf8");
    for (const each of found) {
      assert.ok("manifest" in each, each.directory);
      assert.deepEqual(each.manifest.languages, ["en"]);
      assert.ok(page.includes(`[${each.manifest.name}]`), each.manifest.name);
    }
  });

  it("with a broken manifest are told with what is wrong; other folders are none", () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "csplade-installed-"));
    try {
      for (const name of ["empty", "broken"]) mkdirSync(path.join(folder, name));
      writeFileSync(path.join(folder, "broken", "manifest.json"), "{");
      writeFileSync(path.join(folder, "file"), "");
      const [broken, ...others] = installedCheckpoints(folder);
      assert.ok(broken !== undefined && "problem" in broken);
      assert.equal(broken.problem.code, "model_invalid");
      assert.deepEqual(others, []);
      assert.deepEqual(installedCheckpoints(path.join(folder, "none")), []);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
