import assert from "node:assert/strict";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { packageRoot } from "../../../src/config/package-root.js";
import type { Config } from "../../../src/config/settings.js";
import { csplade, environmentOf } from "../../support/csplade-command.js";
import {
  startOtlpReceiver,
  type OtlpReceiver,
  type ReceivedSpan,
} from "../../support/otlp-receiver.js";
import { discardIndices, fill, reindexConfig, testDocuments } from "../../support/reindexing.js";
import { startWorkerProcess } from "../../support/worker-process.js";

const CONSUMER = 5;
const ERROR = 2;

describe("the traces of a reindexing, sent by OpenTelemetry's SDK to an OTLP receiver,", function () {
  this.timeout(180_000);
  let config: Config;
  let cluster: Cluster;
  let receiver: OtlpReceiver;
  const named = (name: string) => receiver.spans.filter((span) => span.name === name);
  const parentOf = ({ parentSpanId, traceId }: ReceivedSpan) =>
    receiver.spans.find((span) => span.spanId === parentSpanId && span.traceId === traceId);

  before(async () => {
    config = reindexConfig({ "reindex.slice_documents": 100 });
    cluster = connectCluster(config);
    receiver = await startOtlpReceiver();
    await fill(cluster, "ot-source", [
      ...testDocuments(300),
      { id: "secret", title: "Chrysanthemum", text: "pomegranate" },
      { id: "refused", title: "Rhododendron", text: 17, other: "elderflower" },
    ]);
    const register = path.join(packageRoot, "dist", "test", "support", "otel-register.js");
    const env = {
      ...environmentOf(config),
      NODE_OPTIONS: `--import=${register}`,
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      CSPLADE_SLICE_DOCUMENTS: "100",
    };
    const worker = await startWorkerProcess(config, {
      env: { ...env, OTEL_SERVICE_NAME: "worker" },
    });
    try {
      const args = ["reindex", "--from", "ot-source", "--to", "ot-search", "--no-workers"];
      const ended = await csplade(args, { env: { ...env, OTEL_SERVICE_NAME: "coordinator" } });
      // 3: one document cannot be taken.
      assert.equal(ended.status, 3, ended.output);
      await sleep(1_000);
    } finally {
      worker.kill("SIGKILL");
    }
  });
  after(async () => {
    await receiver.close();
    await discardIndices(cluster, "ot-");
    await cluster.close();
  });

  it("have one trace of the run, with its passes, verification and swap below it", () => {
    const [run, ...others] = named("csplade.run");
    assert.ok(run !== undefined && others.length === 0);
    assert.deepEqual(
      [run.service, run.scope, run.parentSpanId],
      ["coordinator", "csplade", undefined],
    );
    assert.equal(run.attributes["csplade.alias"], "ot-search");
    assert.equal(run.attributes["csplade.target"], "ot-search-v1");
    for (const name of ["csplade.pass", "csplade.verify", "csplade.swap"]) {
      const spans = named(name);
      assert.ok(spans.length > 0, name);
      for (const span of spans) assert.equal(parentOf(span), run, name);
    }
    const [first] = named("csplade.pass");
    assert.equal(Number(first?.attributes["csplade.documents"]), 302);
    assert.equal(Number(first?.attributes["csplade.slices"]), 4);
  });

  it("have a trace per slice, which links to the run, with each step below it", () => {
    const [run] = named("csplade.run");
    const slices = named("csplade.slice").filter(
      (span) => span.attributes["csplade.task"] === "copy",
    );
    assert.equal(slices.length, 4);
    assert.equal(new Set(slices.map(({ traceId }) => traceId)).size, 4);
    for (const slice of slices) {
      assert.deepEqual(
        [slice.service, slice.kind, slice.parentSpanId],
        ["worker", CONSUMER, undefined],
      );
      assert.equal(slice.attributes["csplade.run"], run?.attributes["csplade.run"]);
      assert.deepEqual(
        slice.links.map(({ traceId, spanId }) => [traceId, spanId]),
        [[run?.traceId, run?.spanId]],
      );
    }
    const documents = (spans: readonly ReceivedSpan[]) =>
      spans.reduce((sum, { attributes }) => sum + Number(attributes["csplade.documents"]), 0);
    assert.equal(documents(slices), 302);
    assert.equal(
      slices.reduce((sum, { attributes }) => sum + Number(attributes["csplade.dead_letters"]), 0),
      1,
    );
    assert.ok(slices.every(({ attributes }) => Number(attributes["csplade.tokens"]) > 0));
    for (const name of ["csplade.read", "csplade.compare", "csplade.encode", "csplade.write"]) {
      const steps = named(name);
      for (const step of steps) {
        assert.ok(slices.includes(parentOf(step) as ReceivedSpan), `${name} is below a slice`);
      }
      const expected = name === "csplade.encode" || name === "csplade.write" ? 301 : 302;
      assert.equal(documents(steps), expected, name);
    }
  });

  it("have times in which a step lies within its slice, and no error", () => {
    for (const span of receiver.spans) {
      const [start, end] = [BigInt(span.startTimeUnixNano), BigInt(span.endTimeUnixNano)];
      assert.ok(start <= end, span.name);
      assert.notEqual(span.status.code, ERROR, `${span.name}: ${span.status.message ?? ""}`);
      const parent = parentOf(span);
      if (parent === undefined) continue;
      // Each process has one clock, but the SDK rounds it.
      assert.ok(start >= BigInt(parent.startTimeUnixNano) - 2_000_000n, span.name);
      assert.ok(end <= BigInt(parent.endTimeUnixNano) + 2_000_000n, span.name);
    }
  });

  it("hold no text of any document, nor the password of a server", () => {
    const all = receiver.raw.join("\n");
    assert.ok(all.includes("csplade.slice"));
    for (const word of ["Chrysanthemum", "pomegranate", "elderflower", "Document 17", "subject"]) {
      assert.ok(!all.includes(word), word);
    }
    const names = new Set(receiver.spans.flatMap(({ attributes }) => Object.keys(attributes)));
    assert.ok([...names].every((name) => /^(csplade\.[a-z_]+|error\.type)$/.test(name)));
  });
});
