/**
 * The encoder must not become slower, hungrier or more wasteful unnoticed. Nothing here is timed
 * in seconds: speed is CPU time beside a bare ONNX Runtime loop, by turns in this process, padding
 * is an exact count, and memory is what V8 says was allocated, collected or not.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { HeapProfiler } from "node:inspector";
import { Session } from "node:inspector/promises";
import path from "node:path";
import * as huggingFace from "@huggingface/tokenizers";
import { mixedTexts } from "../../../bench/mixed-texts.js";
import { inRounds } from "../../../src/encoder/paired-rounds.js";
import { openRawOnnxLoop } from "../../../bench/raw-onnx-loop.js";
import { planBatches } from "../../../src/encoder/batches.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { openSession } from "../../../src/encoder/onnx-session.js";
import { splitPassages } from "../../../src/text/passages.js";
import { createTokenizer, readTokenizerFile } from "../../../src/text/tokenizer.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const BUDGET = 512;

/** Most CPU time, as a multiple of the bare loop's. */
const MOST_TIMES_BARE = 1.5;

/** Most bytes of JavaScript objects per token of text, tokenizer included. */
const MOST_BYTES_PER_TOKEN = 1_000;

describe("the encoder's speed", function () {
  this.timeout(120_000);
  let texts: string[];
  let encoder: Encoder;
  before(async () => {
    encoder = await openEncoder(testConfig({ "model.token_budget": BUDGET }));
    // One passage each: the tiny checkpoint takes 64 tokens.
    const all = await mixedTexts(1_200, 1);
    const rows = await encoder.literals(all);
    const limit = encoder.manifest.max_tokens.document;
    texts = all.filter((_, i) => rows[i]!.ids.length <= limit).slice(0, 192);
  });
  after(() => encoder.close());

  it("stays near that of a bare loop that tokenizes and runs the same graph", async () => {
    const { Tokenizer } = huggingFace as unknown as {
      Tokenizer: new (
        file: object,
        config: object,
      ) => {
        encode(text: string, options: object): { ids: number[] };
      };
    };
    const file = path.join(tinyCheckpoint("bi"), "tokenizer.json");
    const tokenizer = new Tokenizer(JSON.parse(readFileSync(file, "utf8")) as object, {});
    const top_k = encoder.manifest.top_k.document;
    const loop = await openRawOnnxLoop(tinyCheckpoint("bi"), { threads: 1, top_k });
    try {
      const bare = async () => {
        const rows = texts.map((text) => tokenizer.encode(text, { add_special_tokens: true }).ids);
        await loop.encode(rows, BUDGET);
      };
      const ours = async () => {
        await encoder.encodeDocuments(texts);
      };
      // The first rounds compile.
      await inRounds(3, [ours, bare]);
      const least = [Infinity, Infinity];
      let times = Infinity;
      // What else the machine does only ever adds: the least of many turns is the work itself, and
      // where it is still too much, more turns can only tell better.
      for (let block = 0; block < 6 && (block < 2 || times > MOST_TIMES_BARE); block++) {
        const turns = await inRounds(
          6,
          [ours, bare].map((way) => () => cpuTimeOf(way)),
        );
        turns.forEach((each, way) => (least[way] = Math.min(least[way]!, ...each)));
        times = least[0]! / least[1]!;
      }
      assert.ok(
        times <= MOST_TIMES_BARE,
        `Encoding takes ${times.toFixed(2)} times the CPU time of a bare loop; ${MOST_TIMES_BARE} is the most. ` +
          "npm run bench:encoder shows where the real checkpoint stands.",
      );
    } finally {
      await loop.close();
    }
  });

  it("loses to padding exactly what the batches of these texts need", async () => {
    const before = encoder.totals();
    await encoder.encodeDocuments(texts);
    const after = encoder.totals();
    const spent = (name: "texts" | "batches" | "tokens" | "padded_tokens") =>
      after[name] - before[name];
    assert.deepEqual(
      {
        texts: spent("texts"),
        batches: spent("batches"),
        tokens: spent("tokens"),
        padded_tokens: spent("padded_tokens"),
      },
      { texts: 192, batches: 12, tokens: 4310, padded_tokens: 4386 },
    );
  });

  it("is not bought with garbage: bytes allocated per token stay few", async () => {
    const folder = tinyCheckpoint("bi");
    const tokenizer = createTokenizer(readTokenizerFile(path.join(folder, "tokenizer.json")));
    const session = await openSession(path.join(folder, "model.onnx"), {
      provider: "cpu",
      threads: 1,
    });
    const limits = { max_tokens: encoder.manifest.max_tokens.document, max_passages: 10 };
    // What an encoder thread does with a request, here where V8 can be asked about it.
    const encode = async () => {
      const passages = texts.flatMap((text) => splitPassages(text, tokenizer, limits).passages);
      for (const batch of planBatches(
        passages.map(({ ids }) => ids.length),
        BUDGET,
      )) {
        await session.run(
          batch.map((index) => passages[index]!.ids),
          0,
          encoder.manifest.top_k.document,
        );
      }
      return passages.reduce((sum, { ids }) => sum + ids.length, 0);
    };
    try {
      await encode();
      let tokens = 0;
      const bytes = await allocatedBytes(async () => {
        tokens = await encode();
      });
      const perToken = bytes / tokens;
      assert.ok(
        perToken <= MOST_BYTES_PER_TOKEN,
        `Encoding allocates ${perToken.toFixed(0)} bytes per token; ${MOST_BYTES_PER_TOKEN} is the most.`,
      );
    } finally {
      await session.close();
    }
  });
});

/** Microseconds of CPU that a piece of work takes, on all threads of this process. */
async function cpuTimeOf(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** Bytes of objects that V8 allocated during a piece of work, collected ones included. */
async function allocatedBytes(work: () => Promise<void>): Promise<number> {
  const session = new Session();
  session.connect();
  try {
    await session.post("HeapProfiler.startSampling", {
      samplingInterval: 512,
      // Newer than the types know.
      ...{ includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true },
    });
    await work();
    const { profile } = await session.post("HeapProfiler.stopSampling");
    return sizeOf(profile.head);
  } finally {
    session.disconnect();
  }
}

function sizeOf(node: HeapProfiler.SamplingHeapProfileNode): number {
  return node.selfSize + node.children.reduce((sum, child) => sum + sizeOf(child), 0);
}
