/** `csplade` on a cluster that wants signed requests, as Amazon OpenSearch Service does. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { startAwsFront, type AwsFront } from "../../support/aws-front.js";
import { runCsplade } from "../../support/csplade-command.js";
import { testServers } from "../../support/servers.js";

describe("a cluster that wants signed requests", function () {
  this.timeout(120_000);
  const identity = {
    accessKeyId: "AKIDEXAMPLE",
    secretAccessKey: "a secret of somebody",
    region: "eu-central-1",
    service: "es",
  } as const;
  let folder: string;
  let front: AwsFront;

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-amazon-"));
    front = await startAwsFront(identity, testServers().opensearchUrl);
  });

  after(async () => {
    await front.stop();
    rmSync(folder, { recursive: true });
  });

  const environment = (secret: string) => ({
    OPENSEARCH_URL: front.url,
    OPENSEARCH_AWS_REGION: identity.region,
    AWS_ACCESS_KEY_ID: identity.accessKeyId,
    AWS_SECRET_ACCESS_KEY: secret,
  });

  it("is filled, evaluated against and searched, every request signed; no secret is shown", async () => {
    const file = path.join(folder, "docs.ndjson");
    const documents = [
      { _id: "über/1", text: "a morbid fear of being closed in a confined space" },
      { _id: "2", text: "an inability to sleep" },
    ];
    writeFileSync(file, documents.map((each) => JSON.stringify(each)).join("\n"));
    const env = environment(identity.secretAccessKey);
    const ingested = await runCsplade(folder, ["ingest", file, "--index", "amazon"], env);
    assert.equal(ingested.code, 0, ingested.err);
    const found = await runCsplade(
      folder,
      ["search", "--index", "amazon", "--json", "fear of a confined space"],
      env,
    );
    assert.equal(found.code, 0, found.err);
    const { hits } = JSON.parse(found.out) as { hits: { id: string }[] };
    assert.equal(hits[0]?.id, "über/1");
    const doctor = await runCsplade(folder, ["doctor"], env);
    assert.match(doctor.out, /opensearch\.aws_region\s+eu-central-1\s+environment/);
    assert.deepEqual([front.counts.wrong, front.counts.right > 10], [0, true]);
    for (const { out, err } of [ingested, found, doctor]) {
      assert.ok(!(out + err).includes(identity.secretAccessKey));
    }
  });

  it("refuses a wrong key, and the message is the cluster's", async () => {
    const refused = await runCsplade(
      folder,
      ["search", "--index", "amazon", "fear"],
      environment("not it"),
    );
    assert.equal(refused.code, 1);
    assert.match(refused.err, /403.*signature we calculated does not match/);
  });
});
