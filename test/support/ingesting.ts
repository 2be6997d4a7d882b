/** Files, runs and looks at indices for the tests of an ingest. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectCluster, type Cluster } from "../../src/cluster/cluster.js";
import { pathOf } from "../../src/cluster/request.js";
import type { Config, SettingName } from "../../src/config/settings.js";
import { openEncoder, type Encoder } from "../../src/encoder/encoder.js";
import { ingestFiles, type IngestSummary } from "../../src/pipeline/ingest-files.js";
import { discardIndices } from "./reindexing.js";
import { testServers } from "./servers.js";
import { testConfig } from "./tiny-checkpoints.js";

/** Documents `d0`, `d1`, … as they stand in a file. */
export function documents(count: number): { _id: string; title: string; text: string }[] {
  return Array.from({ length: count }, (_, i) => ({
    _id: `d${i}`,
    title: `Document ${i}`,
    text: `This is the text of document number ${i}, about subject ${i % 17}.`,
  }));
}

/** Returns when more than a hundred documents were written to an index. */
export async function whileWriting(cluster: Cluster, index: string): Promise<void> {
  for (;;) {
    const answer = await cluster.send({ method: "GET", path: `${pathOf(index)}/_stats/indexing` });
    const { _all } = answer.body as {
      _all?: { primaries: { indexing?: { index_total: number } } };
    };
    if ((_all?.primaries.indexing?.index_total ?? 0) > 100) return;
    await sleep(20);
  }
}

/** An open suite. */
export interface IngestSuite {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly folder: string;
  /** Writes a file of NDJSON and tells where. */
  write(name: string, lines: readonly object[]): string;
  /** Ingests with a worker in this process, as `csplade ingest` does. */
  ingest(
    index: string,
    inputs: readonly string[],
    more?: Partial<Parameters<typeof ingestFiles>[0]>,
  ): Promise<IngestSummary>;
  /** Where the dead letters of an index's run are. */
  lettersOf(index: string): string;
  /** Deletes the suite's indices and closes what it opened. */
  close(): Promise<void>;
}

/** Opens a suite on the test servers; the names of its indices begin with `prefix`. */
export async function openIngestSuite(
  prefix: string,
  flags: Partial<Record<SettingName, unknown>> = {},
): Promise<IngestSuite> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "csplade-ingest-"));
  const { opensearchUrl, redisUrl } = testServers();
  const config = testConfig({
    home: folder,
    "opensearch.url": opensearchUrl,
    "redis.url": redisUrl,
    "ingest.job_documents": 50,
    ...flags,
  });
  const cluster = connectCluster(config);
  const encoder = await openEncoder(config);
  const lettersOf = (index: string) => path.join(folder, `${index}-dead-letters.ndjson`);
  return {
    config,
    cluster,
    encoder,
    folder,
    lettersOf,
    write(name, lines) {
      const file = path.join(folder, name);
      writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
      return file;
    },
    ingest(index, inputs, more = {}) {
      const { signal } = new AbortController();
      const deadLetters = lettersOf(index);
      return ingestFiles({
        config,
        cluster,
        encoder,
        inputs: [...inputs],
        index,
        deadLetters,
        signal,
        ...more,
      });
    },
    async close() {
      await discardIndices(cluster, prefix);
      await encoder.close();
      await cluster.close();
      rmSync(folder, { recursive: true });
    },
  };
}
