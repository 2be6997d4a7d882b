import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { connectCluster } from "../../../src/cluster/cluster.js";
import { pathOf } from "../../../src/cluster/request.js";
import { runCsplade, startCsplade } from "../../support/csplade-command.js";
import { fill, reindexConfig, testDocuments } from "../../support/reindexing.js";

/** Documents of the file, more than are encoded before somebody stops it. */
const COUNT = 8_000;

/** A program under way, and what it has said on standard error and output so far. */
interface Running {
  readonly child: ChildProcess;
  readonly said: () => string;
  /** Waits until the pattern is said. */
  readonly says: (pattern: RegExp) => Promise<RegExpExecArray>;
}

describe("Ctrl-C", function () {
  this.timeout(120_000);
  let folder: string;
  let cluster: Cluster;
  let file: string;
  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-interrupt-"));
    cluster = connectCluster(reindexConfig());
    file = path.join(folder, "it's.ndjson");
    const lines = testDocuments(COUNT).map(({ id, ...body }) =>
      JSON.stringify({ _id: id, ...body }),
    );
    writeFileSync(file, ["{broken", ...lines].join("\n"));
  });
  after(async () => {
    await cluster.close();
    rmSync(folder, { recursive: true });
  });

  function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
    const child = startCsplade(folder, args, {
      CSPLADE_REDIS_PREFIX: `interrupt-${args[0]}`,
      ...env,
    });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => (said += text));
    }
    return {
      child,
      said: () => said,
      async says(pattern) {
        for (;;) {
          const found = pattern.exec(said);
          if (found !== null) return found;
          assert.equal(child.exitCode, null, said);
          await sleep(50);
        }
      },
    };
  }

  /** Waits for documents of an index, or for one with a field. */
  async function untilThere(index: string, id?: string, field = ""): Promise<void> {
    for (;;) {
      await cluster.send({ method: "POST", path: pathOf(index, "_refresh") });
      const path = id === undefined ? pathOf(index, "_count") : pathOf(index, "_doc", id);
      const { status, body } = await cluster.send({ method: "GET", path });
      const found = body as { count?: number; _source?: Record<string, unknown> };
      if (status === 200 && ((found.count ?? 0) > 0 || found._source?.[field] !== undefined))
        return;
      await sleep(100);
    }
  }

  async function interrupt({ child, says }: Running): Promise<string> {
    const at = performance.now();
    child.kill("SIGINT");
    const [, command = ""] = await says(/^Go on with: csplade (.*)$/m);
    assert.ok(performance.now() - at < 2_000);
    return command;
  }

  it("of an ingest says at once what was done, what failed, and the command that goes on", async () => {
    const running = start(["ingest", file, "--index", "stopped-ingest"]);
    await untilThere("stopped-ingest");
    const command = await interrupt(running);
    assert.equal(command, `ingest '${file.replace("'", "'\\''")}' --index stopped-ingest`);
    assert.match(running.said(), /^stopped-ingest: \d+ read, \d+ written, .* 1 failed so far\.$/m);
    assert.match(running.said(), /^1 × document_malformed: .*line 1 of /m);
    const [code] = (await once(running.child, "close")) as [number];
    assert.equal(code, 130);
    assert.match(running.said(), /error: Interrupted: stopped-ingest: \d+ read/);
    const env = { CSPLADE_REDIS_PREFIX: "interrupt-ingest" };
    const again = await runCsplade(
      folder,
      ["ingest", file, "--index", "stopped-ingest", "--json"],
      env,
    );
    const { written, skipped, failed } = JSON.parse(again.out) as Record<string, number>;
    assert.deepEqual([(written ?? 0) + (skipped ?? 0), failed], [COUNT, 1]);
    assert.ok((skipped ?? 0) > 0);
  });

  it("a second time ends the command at once", async () => {
    // One job that takes a minute or more: it is under way by the first line of progress, and long after.
    const long = path.join(folder, "long.ndjson");
    const text = "Whoever waits for this text to be encoded has time for a walk. ".repeat(300);
    const lines = testDocuments(1_000).map(({ id }) => JSON.stringify({ _id: id, text }));
    writeFileSync(long, lines.join("\n"));
    const env = {
      CSPLADE_JOB_DOCUMENTS: "1000",
      CSPLADE_JOB_BYTES: "100000000",
      CSPLADE_REDIS_PREFIX: "interrupt-twice",
    };
    const running = start(["ingest", long, "--index", "stopped-twice"], env);
    await running.says(/0 written, 0 skipped/);
    await interrupt(running);
    assert.equal(running.child.exitCode, null);
    const at = performance.now();
    running.child.kill("SIGINT");
    const [, signal] = (await once(running.child, "close")) as [number | null, string];
    assert.equal(signal, "SIGINT");
    assert.ok(performance.now() - at < 2_000);
  });

  it("of a reindexing names the run to go on with, and csplade status says that it was interrupted", async () => {
    await fill(cluster, "stopped-source", testDocuments(2_000));
    const env = { CSPLADE_REDIS_PREFIX: "interrupt-reindex", CSPLADE_SLICE_DOCUMENTS: "200" };
    const args = ["--from", "stopped-source", "--to", "stopped-search", "--max-lag", "20"];
    const running = start(["reindex", ...args, "--rate", "50"], env);
    await untilThere("stopped-search-v1");
    const during = await runCsplade(folder, ["status", "stopped-search", "--json"], env);
    assert.equal((JSON.parse(during.out) as { interrupted: boolean }).interrupted, false);
    const command = await interrupt(running);
    const [, run = ""] = /^reindex --resume (\S+) --max-lag 20$/.exec(command) ?? [];
    assert.notEqual(run, "", command);
    assert.match(
      running.said(),
      /\d+ of 2000 documents read, \d+ written, .* 0 dead letters so far/,
    );
    const [code] = (await once(running.child, "close")) as [number];
    assert.equal(code, 130);
    const list = await runCsplade(folder, ["status"], env);
    assert.match(list.out, new RegExp(`${run} +copying, interrupted`));
    const view = await runCsplade(folder, ["status", run], env);
    assert.match(view.out, /copying, INTERRUPTED/);
    assert.match(view.out, new RegExp(`csplade reindex --resume ${run}`));
    await runCsplade(folder, ["steer", run, "--rate", "0"], env);
    const resumed = await runCsplade(folder, command.split(" "), env);
    assert.equal(resumed.code, 0, resumed.err);
    assert.match(resumed.out, /Verification passed: 2000 in the source, 2000 in the new index/);
    assert.doesNotMatch((await runCsplade(folder, ["status", run], env)).out, /INTERRUPTED/);
  });

  it("of a follow is how it ends, with what was done, what was refused and the command that goes on", async () => {
    await fill(cluster, "stopped-follow", [...testDocuments(50), { id: "blank", text: " " }]);
    const running = start(["follow", "stopped-follow", "--text-fields", "title,text"]);
    await untilThere("stopped-follow", "d49", "csplade_text_hash");
    await untilThere("stopped-follow", "blank", "csplade_refused");
    const command = await interrupt(running);
    assert.equal(command, "follow stopped-follow --text-fields title,text");
    const [code] = (await once(running.child, "close")) as [number];
    assert.equal(code, 3, running.said());
    assert.match(running.said(), /50 encoded, \d+ changed meanwhile, 1 refused/);
    assert.match(running.said(), /1 × document_no_text: .*\(blank\)/);
  });
});
