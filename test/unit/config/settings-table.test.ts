import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { packageRoot } from "../../../src/config/package-root.js";
import { settingRows, settingsSchema } from "../../../src/config/settings-table.js";
import { settings } from "../../../src/config/settings.js";
import { settingsFiles } from "../../support/settings-files.js";

describe("the table of settings", () => {
  it("is in the docs and in the schema of csplade.yaml as it is in the code (npm run settings)", async () => {
    for (const [file, content] of await settingsFiles()) {
      assert.equal(readFileSync(path.join(packageRoot, file), "utf8"), content, file);
    }
  });

  it("has a row for each setting, with the values it takes and nothing of this machine", () => {
    const rows = settingRows();
    assert.deepEqual(
      rows.map(({ name }) => name),
      Object.keys(settings),
    );
    const port = rows.find(({ name }) => name === "gateway.port");
    assert.deepEqual(
      [port?.env, port?.default, port?.values],
      ["CSPLADE_GATEWAY_PORT", "9260", "0 to 65535"],
    );
    for (const row of rows) assert.ok(!JSON.stringify(row).includes(packageRoot), row.name);
  });

  it("makes a schema that takes a file of settings and refuses a name or a value that is none", () => {
    const schema = z.fromJSONSchema(settingsSchema() as Parameters<typeof z.fromJSONSchema>[0]);
    const takes = (value: unknown) => schema.safeParse(value).success;
    assert.ok(takes({ ingest: { text_fields: ["title", "body"] }, gateway: { port: 9 } }));
    assert.ok(!takes({ ingest: { textfields: ["title"] } }));
    assert.ok(!takes({ gateway: { port: 70_000 } }));
    assert.ok(!takes({ document: { prune_type: "some" } }));
  });
});
