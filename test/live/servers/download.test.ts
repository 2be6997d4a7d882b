import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { distributionLock } from "../../../src/servers/distribution-lock.js";
import { downloadArtifacts } from "../../../src/servers/download.js";
import { endHome } from "../../support/process-end.js";
import { makeTestFolder } from "../../support/servers.js";

describe("downloads of the embedded servers", () => {
  const artifact = distributionLock("3.6.0").artifacts.find(({ file }) => /^jopt/.test(file))!;
  let folder: string;

  beforeEach(async () => {
    folder = await makeTestFolder();
  });
  afterEach(() => endHome(folder));

  it("a corrupted file and a half-finished download are replaced by the pinned file", async () => {
    await writeFile(path.join(folder, artifact.file), "half of a j");
    await mkdir(path.join(folder, ".fetch-interrupted"));
    await downloadArtifacts([artifact], folder);
    const bytes = await readFile(path.join(folder, artifact.file));
    assert.equal(createHash("sha256").update(bytes).digest("hex"), artifact.sha256);
  });

  it("a file whose sum is not the pinned one is never put in place", async () => {
    const tampered = { ...artifact, sha256: "0".repeat(64) };
    await assert.rejects(downloadArtifacts([tampered], folder), {
      code: "download_failed",
      message: /SHA-256 sum of jopt-simple.* is not the pinned one/,
    });
    assert.deepEqual(await readdir(folder), []);
  });
});
