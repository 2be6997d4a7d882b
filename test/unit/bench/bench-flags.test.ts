import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { packageRoot } from "../../../src/config/package-root.js";
import { runProgram } from "../../../src/servers/program.js";

describe("the command line of a benchmark", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-flags-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const dist = (...names: string[]) => path.join(packageRoot, "dist", ...names);
  const run = (args: readonly string[], env: Record<string, string> = {}) =>
    runProgram(process.execPath, args, { deadlineMs: 60_000, env, cwd: folder });

  it("is all that sets it up: neither the environment nor csplade.yaml, and it says so", async () => {
    const program = path.join(folder, "shown.mjs");
    writeFileSync(path.join(folder, "csplade.yaml"), "write:\n  concurrency: 3\n");
    writeFileSync(
      program,
      `import { benchFlags } from ${JSON.stringify(dist("bench", "bench-flags.js"))};
       import { loadConfig } from ${JSON.stringify(dist("src", "config", "load-config.js"))};
       benchFlags(import.meta.url, {});
       const { origins, values } = loadConfig();
       console.log(JSON.stringify({ origins, home: values.home }));`,
    );
    const { status, output } = await run([program], {
      CSPLADE_HOME: folder,
      CSPLADE_THREADS: "7",
      OPENSEARCH_URL: "http://elsewhere:9200",
    });
    assert.equal(status, 0, output);
    // Standard output and standard error may come in either order.
    const [said = "", shown = ""] = output.trim().split("\n").sort();
    assert.equal(said, "not used, see --help: OPENSEARCH_URL, CSPLADE_THREADS");
    const { origins, home } = JSON.parse(shown) as {
      origins: Record<string, string>;
      home: string;
    };
    assert.equal(home, folder);
    for (const [name, origin] of Object.entries(origins)) {
      assert.equal(origin, name === "home" ? "environment CSPLADE_HOME" : "default", name);
    }
  });

  it("is told by --help, with what is left out", async () => {
    const { status, output } = await run([dist("bench", "search.js"), "--help"]);
    assert.equal(status, 0, output);
    assert.match(output, /^Searching: csplade's modes/);
    assert.match(output, /npm run bench:search -- --keep/);
    assert.match(output, /csplade\.yaml and the environment count for\s+nothing/);
  });
});
