import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { parse } from "yaml";
import { packageRoot } from "../../../src/config/package-root.js";
import { openCheckpoint } from "../../../src/encoder/checkpoint-directory.js";
import { fitOf } from "../../../src/encoder/provider-fit.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

/**
 * Doctor reckons weights and the largest tensor. The other tensors of a batch, the arena, the tokenizer
 * and the lexicon came to 1.8 to 4.0 times that, from run to run: a collection of garbage that comes late
 * is no need, so the least of a few runs counts.
 */
const MOST_OF_RECKONED = 4;
const RUNS = 3;

/** The most memory of a process that encodes with a checkpoint, bytes. */
async function peakOf(checkpoint: string): Promise<number> {
  const program = path.join(packageRoot, "dist", "test", "support", "encode-once.js");
  const args = [program, checkpoint];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 110_000 });
  return Number(stdout);
}

/** What the chart requests for the processes that encode on the CPU, bytes. */
function requestedByChart(): [string, number][] {
  const file = path.join(packageRoot, "k8s", "helm", "csplade", "values.yaml");
  const values = parse(readFileSync(file, "utf8")) as Record<
    string,
    { readonly resources: { readonly requests: { readonly memory: string } } }
  >;
  return ["worker", "gateway"].map((component) => {
    const memory = values[component]?.resources.requests.memory ?? "";
    const [, number = "", unit = ""] = /^(\d+)(Mi|Gi)$/.exec(memory) ?? [];
    return [component, Number(number) * (unit === "Gi" ? 2 ** 30 : 2 ** 20)];
  });
}

describe("the memory of a process that encodes", function () {
  this.timeout(120_000);
  let least: number;
  before(async () => (least = await peakOf(tinyCheckpoint("bi"))));

  for (const name of readdirSync(path.join(packageRoot, "models"))) {
    it(`with ${name} is bounded by what doctor reckons, beside what the runtime itself takes, and by what the chart requests`, async () => {
      const directory = path.join(packageRoot, "models", name);
      const { memory } = fitOf(await openCheckpoint(directory), testConfig());
      const most = least + MOST_OF_RECKONED * memory.total;
      const peaks = [await peakOf(directory)];
      while (peaks.length < RUNS && Math.min(...peaks) >= most) peaks.push(await peakOf(directory));
      const more = Math.min(...peaks) - least;
      assert.ok(more < MOST_OF_RECKONED * memory.total, `${more} bytes, ${memory.total} reckoned`);
      const peak = Math.max(...peaks);
      for (const [component, requested] of requestedByChart()) {
        assert.ok(peak < requested, `${component}: ${peak} bytes, ${requested} requested`);
      }
    });
  }
});
