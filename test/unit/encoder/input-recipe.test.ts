import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { packageRoot } from "../../../src/config/package-root.js";
import { openCheckpoint } from "../../../src/encoder/checkpoint-directory.js";
import { openEncoder } from "../../../src/encoder/encoder.js";
import type { EncodedPassage } from "../../../src/encoder/encoder-protocol.js";
import { manifestSchema } from "../../../src/encoder/manifest.js";
import { openSession } from "../../../src/encoder/onnx-session.js";
import type { SparseVector } from "../../../src/sparse/sparse-vector.js";
import { createTokenizer, readTokenizerFile } from "../../../src/text/tokenizer.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const LONG = "The river flows to the sea. People live near the water of the city. ".repeat(8);
const SHIPPED = {
  "csplade-minilm-words": "d83a2eb1c3f83350",
  "csplade-smollm2-135m": "6b92a9af83ee9ac9",
  "csplade-smollm2-135m-prompt": "434cd76553e603c6",
};

describe("the input recipe of a manifest", () => {
  const directories: string[] = [];
  const tokenizer = createTokenizer(
    readTokenizerFile(path.join(tinyCheckpoint("bi"), "tokenizer.json")),
  );
  const idsOf = (text: string) => tokenizer.encode(text);

  /** The tiny model with a manifest that says more. */
  function checkpointWith(more: object): string {
    const directory = mkdtempSync(path.join(os.tmpdir(), "csplade-recipe-"));
    directories.push(directory);
    cpSync(tinyCheckpoint("bi"), directory, { recursive: true });
    const file = path.join(directory, "manifest.json");
    const manifest = JSON.parse(readFileSync(file, "utf8")) as object;
    writeFileSync(file, JSON.stringify({ ...manifest, ...more }));
    return directory;
  }
  after(() => directories.forEach((directory) => rmSync(directory, { recursive: true })));

  /** What the model gives for exactly these tokens. */
  async function vectorOf(ids: readonly number[], topK: number): Promise<SparseVector | undefined> {
    const model = path.join(tinyCheckpoint("bi"), "model.onnx");
    const session = await openSession(model, { provider: "cpu", threads: 1 });
    const [vector] = await session.run([ids], 0, topK);
    await session.close();
    return vector;
  }

  it("puts each role's words and special tokens around a text", async () => {
    const input = {
      document: { prefix: "a small ", begin: ["<|pad|>"] },
      query: { prefix: "about ", suffix: " at night", end: ["<|pad|>", "<|pad|>"] },
    };
    const encoder = await openEncoder(testConfig({ "model.path": checkpointWith({ input }) }));
    const { top_k } = encoder.manifest;
    const [document] = await encoder.encodeDocuments(["Cat"]);
    const [query] = await encoder.encodeQueries(["Cat"]);
    await encoder.close();
    const read = idsOf("a small Cat");
    assert.deepEqual(document?.passages[0]?.vector, await vectorOf([0, ...read], top_k.document));
    assert.equal(document?.passages[0]?.tokens, read.length);
    const asked = [...idsOf("about Cat"), ...idsOf(" at night"), 0, 0];
    assert.deepEqual(query?.passages[0]?.vector, await vectorOf(asked, top_k.query));
  });

  it("keeps prefix, suffix and special tokens of long texts: what is cut off is the text", async () => {
    const role = { prefix: "the city: ", suffix: " the end", begin: ["<|pad|>"], end: ["<|pad|>"] };
    const input = { document: role, query: role };
    const encoder = await openEncoder(testConfig({ "model.path": checkpointWith({ input }) }));
    const { max_tokens, top_k } = encoder.manifest;
    const [document] = await encoder.encodeDocuments([LONG]);
    const [query] = await encoder.encodeQueries([LONG]);
    await encoder.close();
    const around = (ids: readonly number[]) => [0, ...ids, ...idsOf(role.suffix), 0];
    assert.ok((document?.passages.length ?? 0) > 3);
    for (const { start, end, tokens, vector } of document?.passages as EncodedPassage[]) {
      const ids = idsOf(role.prefix + LONG.slice(start, end));
      assert.ok(tokens === ids.length && tokens <= max_tokens.document);
      assert.deepEqual(vector, await vectorOf(around(ids), top_k.document));
    }
    const first = idsOf(role.prefix + LONG).slice(0, max_tokens.query);
    assert.deepEqual(query?.passages[0]?.vector, await vectorOf(around(first), top_k.query));
    assert.equal(query?.truncated, true);
  });

  it("leaves a blank text without terms", async () => {
    const role = { prefix: "the city: " };
    const input = { document: role, query: role };
    const encoder = await openEncoder(testConfig({ "model.path": checkpointWith({ input }) }));
    const encoded = [
      ...(await encoder.encodeDocuments(["", " \n"])),
      ...(await encoder.encodeQueries([""])),
    ];
    await encoder.close();
    assert.deepEqual(encoded, Array(3).fill({ passages: [], truncated: false }));
  });

  it("is refused where the tokenizer lacks a special token of it", async () => {
    const role = { begin: ["[CLS]"] };
    const directory = checkpointWith({ input: { document: role, query: role } });
    await assert.rejects(openEncoder(testConfig({ "model.path": directory })), {
      code: "model_invalid",
      message: /\[CLS\]/,
    });
  });

  it("is absent from the shipped checkpoints, which keep their fingerprints", async () => {
    for (const [name, fingerprint] of Object.entries(SHIPPED)) {
      const directory = path.join(packageRoot, "models", name);
      const { manifest } = await openCheckpoint(directory, { graph: false });
      assert.equal(manifest.fingerprint, fingerprint);
      assert.equal(manifest.input, undefined);
    }
  });

  it("may name activations, poolings and thresholds of other people's models", () => {
    const file = path.join(tinyCheckpoint("bi"), "manifest.json");
    const manifest = JSON.parse(readFileSync(file, "utf8")) as object;
    const others = {
      pooling: "sum",
      activation: "log1p_log1p_relu",
      threshold: 0.1,
      never_terms: [0],
    };
    const parsed = manifestSchema.parse({ ...manifest, ...others });
    assert.deepEqual({ ...parsed, ...others }, parsed);
    assert.throws(() => manifestSchema.parse({ ...manifest, activation: "softmax" }));
  });
});
