/** docs/scale.md shows what the simulator makes of the rates beside it. */
import assert from "node:assert/strict";
import path from "node:path";
import { packageRoot } from "../../src/config/package-root.js";
import { runTool } from "../support/kubernetes-tools.js";

describe("docs/scale.md", function () {
  this.timeout(600_000);

  it("has the tables that simulate-reindex makes of bench/reindex-rates.json", () => {
    const program = path.join(packageRoot, "dist", "bench", "simulate-reindex.js");
    const { status, output } = runTool(process.execPath, [program, "--check"]);
    assert.equal(status, 0, output);
  });
});
