import assert from "node:assert/strict";
import fc from "fast-check";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import type { Config } from "../../../src/config/settings.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { startAwsFront, type AwsFront } from "../../support/aws-front.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const identity = {
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
  sessionToken: "a/token+of=a session",
  region: "eu-central-1",
  service: "es",
} as const;

/** What AWS's chain of providers reads, so that nothing of this machine counts. */
const ENVIRONMENT: Readonly<Record<string, string | undefined>> = {
  AWS_ACCESS_KEY_ID: identity.accessKeyId,
  AWS_SECRET_ACCESS_KEY: identity.secretAccessKey,
  AWS_SESSION_TOKEN: identity.sessionToken,
  AWS_EC2_METADATA_DISABLED: "true",
  AWS_CONFIG_FILE: "/dev/null",
  AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
};

describe("signing requests for Amazon OpenSearch Service", () => {
  const outside: Record<string, string | undefined> = {};
  let front: AwsFront;
  const open: Cluster[] = [];

  before(async () => {
    for (const name of Object.keys(ENVIRONMENT)) outside[name] = process.env[name];
    setEnvironment(ENVIRONMENT);
    front = await startAwsFront(identity);
  });

  after(async () => {
    setEnvironment(outside);
    for (const cluster of open) await cluster.close();
    await front.stop();
  });

  function setEnvironment(values: Readonly<Record<string, string | undefined>>): void {
    for (const [name, value] of Object.entries(values)) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  }

  function connected(settings: Partial<Config>): Cluster {
    const cluster = connectCluster(
      testConfig({
        "opensearch.url": front.url,
        "opensearch.aws_region": identity.region,
        ...settings,
      }),
    );
    open.push(cluster);
    return cluster;
  }

  it("makes signatures that AWS's own signer makes, for any path, query and body", async () => {
    const cluster = connected({});
    const text = fc.string({ unit: "grapheme", maxLength: 20 });
    const part = text.map((name) => encodeURIComponent(`x${name}`).replaceAll("'", "%27"));
    const body = fc.oneof(
      fc.constant(undefined),
      fc.dictionary(text, fc.oneof(text, fc.double({ noNaN: true, noDefaultInfinity: true }))),
      text.map((line) => `{"index":{}}\n${JSON.stringify({ line })}\n`),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("GET", "POST", "PUT", "DELETE"),
        fc.array(part, { minLength: 1, maxLength: 3 }),
        fc.dictionary(fc.stringMatching(/^[a-z_]{1,8}$/), text),
        body,
        async (method, parts, query, sent) => {
          const { status } = await cluster.send({
            method,
            path: `/${parts.join("/")}`,
            query,
            ...(sent === undefined || method === "GET" ? {} : { body: sent }),
          });
          assert.equal(status, 200);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("is refused where key, region or service are others", async () => {
    const refusedBy = async (cluster: Cluster) => {
      const { status } = await cluster.send({ method: "GET", path: "/" });
      assert.equal(status, 403);
    };
    await refusedBy(connected({ "opensearch.aws_region": "us-east-1" }));
    await refusedBy(connected({ "opensearch.aws_service": "aoss" }));
    process.env.AWS_SECRET_ACCESS_KEY = "another";
    await refusedBy(connected({})).finally(() => setEnvironment(ENVIRONMENT));
    await refusedBy(connected({ "opensearch.aws_region": undefined }));
  });

  it("says which credentials it looked for where there are none, and sends nothing", async () => {
    setEnvironment({ AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined });
    const { right, wrong } = front.counts;
    const failing = connected({}).demand({ method: "GET", path: "/" }, "Looking");
    const error: unknown = await failing.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    setEnvironment(ENVIRONMENT);
    assert.ok(error instanceof CspladeError);
    assert.equal(error.code, "cluster_unreachable");
    assert.match(error.message, /eu-central-1, AWS credentials are missing: /);
    assert.match(error.hint ?? "", /AWS_ACCESS_KEY_ID/);
    assert.deepEqual(front.counts, { right, wrong });
  });

  it("will not take a password beside it", () => {
    assert.throws(
      () => connected({ "opensearch.username": "admin", "opensearch.password": "admin" }),
      (error: CspladeError) =>
        error.code === "config_invalid" && /signs requests/.test(error.message),
    );
  });
});
