import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../../../src/config/package-root.js";
import { runCsplade } from "../../support/csplade-command.js";
import { settings } from "../../../src/config/settings.js";
import { comparable, shownOutput, worthShowing } from "../../support/readme-demo.js";
import { makeTestFolder, testServers } from "../../support/servers.js";

describe("csplade demo", function () {
  this.timeout(1_800_000);
  // Other suites begin with an empty index of this name.
  after(() => fetch(`${testServers().opensearchUrl}/wordnet`, { method: "DELETE" }));

  it("finds with the default checkpoint what README.md shows, the bad answers too", async () => {
    const folder = await makeTestFolder();
    const env = {
      CSPLADE_MODEL: settings["model.path"].schema.parse(undefined),
      CSPLADE_THREADS: "0",
    };
    const { code, out, err } = await runCsplade(folder, ["demo"], env);
    assert.equal(code, 0, err);
    const shown = shownOutput(readFileSync(path.join(packageRoot, "README.md"), "utf8"));
    assert.ok(comparable(shown).length > 20);
    assert.deepEqual(comparable(worthShowing(out)), comparable(shown));
  });
});
