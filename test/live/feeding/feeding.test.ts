/** The configurations of docs/feeding.md, as far as they can be tried without the products they are for. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { packageRoot } from "../../../src/config/package-root.js";
import { csplade } from "../../support/csplade-command.js";
import { parseLogstash, type LogstashPlugin } from "../../support/logstash-config.js";
import { testServers } from "../../support/servers.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const feeding = path.join(packageRoot, "pipelines", "feeding");
const read = (name: string) => readFileSync(path.join(feeding, name), "utf8");

describe("feeding an index", function () {
  this.timeout(180_000);
  let folder: string;
  let cluster: Cluster;
  const indices = ["feeding-ndjson", "feeding-kafka", "feeding-source"];

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "csplade-feeding-"));
    cluster = connectCluster(testConfig({ "opensearch.url": testServers().opensearchUrl }));
  });

  after(async () => {
    for (const index of indices) await cluster.send({ method: "DELETE", path: `/${index}` });
    await cluster.close();
    await rm(folder, { recursive: true, force: true });
  });

  const documentsOf = async (index: string): Promise<Map<string, unknown>> => {
    await cluster.send({ method: "POST", path: `/${index}/_refresh` });
    const answer = await cluster.demand(
      {
        method: "POST",
        path: `/${index}/_search`,
        body: { size: 100, _source: { excludes: ["csplade*"] } },
      },
      "Reading what was fed",
    );
    const hits = z
      .object({
        hits: z.object({ hits: z.array(z.object({ _id: z.string(), _source: z.unknown() })) }),
      })
      .parse(answer).hits.hits;
    return new Map(hits.map(({ _id, _source }) => [_id, _source]));
  };

  it("Logstash's files follow its grammar and write where csplade reads", () => {
    const toIndex = parseLogstash(read("logstash-index.conf"));
    const output = pluginOf(toIndex, "output", "opensearch");
    assert.equal(output.get("version_type"), "external_gte");
    assert.ok(output.has("document_id") && output.has("cacert"));
    const toFile = parseLogstash(read("logstash-ndjson.conf"));
    assert.equal(pluginOf(toFile, "output", "file").get("codec"), "json_lines");
    const statement = pluginOf(toFile, "input", "jdbc").get("statement");
    assert.ok(typeof statement === "string" && / AS _id,.* AS text,/.test(statement));
  });

  it("Data Prepper's pipeline is one source and one sink, versioned, with its own dead letters", () => {
    const pipelineSchema = z.strictObject({
      source: z.strictObject({
        kafka: z.strictObject({
          bootstrap_servers: z.array(z.string()).min(1),
          topics: z
            .array(
              z.strictObject({
                name: z.string(),
                group_id: z.string(),
                serde_format: z.enum(["plaintext", "json"]),
                auto_offset_reset: z.enum(["earliest", "latest"]),
              }),
            )
            .min(1),
          acknowledgments: z.literal(true),
        }),
      }),
      sink: z.tuple([
        z.strictObject({
          opensearch: z.strictObject({
            hosts: z.array(z.url({ protocol: /^https$/ })),
            cert: z.string(),
            username: z.string(),
            password: z.string().regex(/^\$\{\w+\}$/),
            index: z.string(),
            document_id: z.string(),
            document_version: z.string(),
            document_version_type: z.literal("external_gte"),
            dlq_file: z.string(),
          }),
        }),
      ]),
    });
    const pipelines = z.record(z.string(), pipelineSchema).parse(parse(read("data-prepper.yaml")));
    assert.equal(Object.keys(pipelines).length, 1);
  });

  it("a message that comes twice or late changes nothing in the plain index", async () => {
    const write = async (version: number, text: string): Promise<number> => {
      const answer = await cluster.send({
        method: "PUT",
        path: "/feeding-source/_doc/1",
        query: { version: String(version), version_type: "external_gte" },
        body: { text },
      });
      return answer.status;
    };
    assert.equal(await write(1, "first"), 201);
    assert.equal(await write(2, "second"), 200);
    assert.equal(await write(2, "second"), 200);
    assert.equal(await write(1, "first"), 409);
    assert.deepEqual((await documentsOf("feeding-source")).get("1"), { text: "second" });
  });

  it("lines as Logstash's json_lines writes them are ingested, dates and all", async () => {
    const file = path.join(folder, "documents-2026-01-01-1210.ndjson");
    const lines = ["one", "two"].map((word) =>
      JSON.stringify({
        "@timestamp": "2026-01-01T12:10:00.123456789Z",
        _id: word,
        title: `Document ${word}`,
        text: `text of ${word}`,
        updated_at: "2026-01-01T12:09:58.000Z",
      }),
    );
    writeFileSync(file, lines.join("\n") + "\n");
    const { opensearchUrl, redisUrl } = testServers();
    const { status, output } = await csplade([
      ...["ingest", file, "--index", "feeding-ndjson", "--json", "--quiet"],
      ...["--opensearch-url", opensearchUrl, "--redis-url", redisUrl],
      ...["--model", tinyCheckpoint("bi")],
    ]);
    assert.equal(status, 0, output);
    assert.match(output, /"written":2/);
    const found = (await documentsOf("feeding-ndjson")).get("one") as Record<string, unknown>;
    assert.equal(found.updated_at, "2026-01-01T12:09:58.000Z");
  });

  describe("kafka-ndjson.sh", () => {
    let topic: string;
    let state: string;

    before(() => {
      const bin = path.join(folder, "bin");
      state = path.join(folder, "state");
      topic = path.join(folder, "topic");
      for (const each of [bin, state]) mkdirSync(each);
      // A topic is a file here: line n is offset n − 1, holding a key, a tab and a value.
      program(
        path.join(bin, "kcat"),
        `while [ $# -gt 0 ]; do case "$1" in -o) from=$2; shift ;; -c) most=$2; shift ;; esac; shift; done
[ "$from" != beginning ] || from=0
awk -v from="$from" 'NR - 1 >= from { print NR - 1 "\\t" $0 }' "${topic}" | head -n "$most"`,
      );
      const main = path.join(packageRoot, "dist", "src", "cli", "main.js");
      program(path.join(bin, "csplade"), `exec "${process.execPath}" "${main}" "$@"`);
    });

    const run = (env: Readonly<Record<string, string>> = {}) => {
      const { opensearchUrl, redisUrl } = testServers();
      const end = spawnSync("sh", [path.join(feeding, "kafka-ndjson.sh")], {
        encoding: "utf8",
        timeout: 120_000,
        env: {
          ...process.env,
          PATH: `${path.join(folder, "bin")}:${process.env.PATH ?? ""}`,
          BROKERS: "unused",
          TOPIC: "documents",
          PARTITION: "0",
          INDEX: "feeding-kafka",
          STATE: state,
          OPENSEARCH_URL: opensearchUrl,
          REDIS_URL: redisUrl,
          CSPLADE_MODEL: tinyCheckpoint("bi"),
          ...env,
        },
      });
      return { status: end.status, output: end.stdout + end.stderr };
    };

    const message = (id: string, text: string) => `${id}\t${JSON.stringify({ _id: id, text })}`;
    const offset = () => {
      const file = path.join(state, "documents-0.offset");
      return existsSync(file) ? readFileSync(file, "utf8").trim() : "none";
    };

    it("takes the newest message of each key and remembers the place", async () => {
      const lines = [
        message("a", "first a"),
        message("b", "tab \\t in b"),
        message("a", "newer a"),
      ];
      writeFileSync(topic, [...lines, "c\t"].join("\n") + "\n");
      const { status, output } = run();
      assert.equal(status, 0, output);
      assert.equal(offset(), "4");
      const found = await documentsOf("feeding-kafka");
      assert.deepEqual([...found.keys()].sort(), ["a", "b"]);
      assert.equal((found.get("a") as { text: string }).text, "newer a");
    });

    it("does nothing where there is nothing new", () => {
      assert.equal(run().status, 0);
      assert.equal(offset(), "4");
    });

    it("reads a batch again that did not reach the index", async () => {
      const all = readFileSync(topic, "utf8") + message("d", "late d") + "\n";
      writeFileSync(topic, all);
      const failed = run({
        OPENSEARCH_URL: "http://127.0.0.1:9",
        CSPLADE_WRITE_MAX_WAIT_MS: "100",
      });
      assert.equal(failed.status, 1, failed.output);
      assert.equal(offset(), "4", "the place moved although nothing was written");
      const again = run();
      assert.equal(again.status, 0, again.output);
      assert.equal(offset(), "5");
      assert.ok((await documentsOf("feeding-kafka")).has("d"));
    });

    it("goes on after a document that cannot be taken, and keeps it", () => {
      writeFileSync(
        topic,
        readFileSync(topic, "utf8") + "e\tnot JSON\n" + message("f", "f") + "\n",
      );
      const { status, output } = run();
      assert.equal(status, 3, output);
      assert.equal(offset(), "7");
      const letters = spawnSync("sh", ["-c", `cat "${state}"/dead-letters-*.ndjson`]);
      assert.match(String(letters.stdout), /document_malformed/);
    });

    it("gets past a batch in which nothing can be taken", () => {
      writeFileSync(topic, readFileSync(topic, "utf8") + "g\tnot JSON either\n");
      const { status, output } = run();
      assert.equal(status, 3, output);
      assert.equal(offset(), "8");
    });
  });
});

function pluginOf(plugins: readonly LogstashPlugin[], section: string, name: string) {
  const found = plugins.find((each) => each.section === section && each.name === name);
  assert.ok(found !== undefined, `${section} ${name}`);
  return found.options;
}

function program(file: string, body: string): void {
  writeFileSync(file, `#!/bin/sh\nset -eu\n${body}\n`);
  chmodSync(file, 0o755);
}
