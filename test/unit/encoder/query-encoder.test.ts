import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import type { EncodedText } from "../../../src/encoder/encoder-protocol.js";
import { manifestSchema } from "../../../src/encoder/manifest.js";
import { openCheckpoint } from "../../../src/encoder/checkpoint-directory.js";
import { openCoordinatorEncoder, openQueryEncoder } from "../../../src/encoder/query-encoder.js";
import { QUERY_TABLE_FILE } from "../../../src/encoder/query-table.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { termsOf } from "../../../src/sparse/sparse-vector.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const vocabulary = manifestSchema.parse(
  JSON.parse(readFileSync(path.join(tinyCheckpoint("bi"), "manifest.json"), "utf8")),
).vocabulary_size;

/** Every third token is no term; the others weigh a little more the higher their id. */
const weights = Array.from({ length: vocabulary }, (_, id) => (id % 3 === 0 ? 0 : 1 + id / 1000));

function vectorOf(text: EncodedText | undefined): Map<number, number> {
  return new Map(text?.passages[0] === undefined ? [] : termsOf(text.passages[0].vector));
}

describe("queries by table", () => {
  let directory: string;
  let encoder: Encoder | undefined;

  beforeEach(() => {
    directory = mkdtempSync(path.join(os.tmpdir(), "csplade-table-"));
    cpSync(tinyCheckpoint("bi"), directory, { recursive: true });
  });
  afterEach(async () => {
    await encoder?.close();
    encoder = undefined;
    rmSync(directory, { recursive: true });
  });

  /** Puts a file into the checkpoint and its manifest. */
  function put(name: string, content: string): void {
    writeFileSync(path.join(directory, name), content);
    const file = path.join(directory, "manifest.json");
    const manifest = JSON.parse(readFileSync(file, "utf8")) as { files: Record<string, object> };
    manifest.files[name] = {
      sha256: createHash("sha256").update(content).digest("hex"),
      bytes: Buffer.byteLength(content),
    };
    writeFileSync(file, JSON.stringify(manifest));
  }

  const putTable = (repeated: string, table = weights) =>
    put(QUERY_TABLE_FILE, JSON.stringify({ repeated, weights: table }));
  const config = () => testConfig({ "model.path": directory, "query.encoder": "table" });

  for (const repeated of ["once", "sum"] as const) {
    it(`weighs a query's own tokens, repeated ones as ${repeated}, without loading the model`, async () => {
      putTable(repeated);
      put("model.onnx", "this is no model, and nothing may try to load it");
      encoder = await openQueryEncoder(config());
      const text = "water and water";
      const [literals] = await encoder.literals([text]);
      const expected = new Map<number, number>();
      for (const id of literals?.ids ?? []) {
        const weight = Math.fround(weights[id] ?? 0);
        if (weight === 0) continue;
        const before = repeated === "sum" ? (expected.get(id) ?? 0) : 0;
        expected.set(id, Math.fround(before + weight));
      }
      assert.ok(expected.size > 0, "the query has terms");
      const [encoded, blank] = await encoder.encodeQueries([text, "  "]);
      assert.deepEqual([...vectorOf(encoded)].sort(), [...expected].sort());
      assert.deepEqual(blank?.passages, []);
    });
  }

  it("is how a checkpoint is asked whose questions have a table alone, whatever the setting", async () => {
    putTable("once");
    const file = path.join(directory, "manifest.json");
    const manifest = JSON.parse(readFileSync(file, "utf8")) as object;
    const input = { document: {}, query: { terms: "table" } };
    writeFileSync(file, JSON.stringify({ ...manifest, input }));
    encoder = await openQueryEncoder(config());
    const [expected] = await encoder.encodeQueries(["water and water"]);
    await encoder.close();
    const unset = testConfig({ "model.path": directory });
    assert.equal(unset["query.encoder"], "model");
    encoder = await openEncoder(unset);
    assert.deepEqual((await encoder.encodeQueries(["water and water"]))[0], expected);
    assert.ok(vectorOf((await encoder.encodeDocuments(["water"]))[0]).size > 0);
    await encoder.close();
    put("model.onnx", "this is no model, and nothing may try to load it");
    for (const open of [openQueryEncoder, openCoordinatorEncoder]) {
      encoder = await open(unset);
      assert.deepEqual((await encoder.encodeQueries(["water and water"]))[0], expected);
      await encoder.close();
    }
  });

  it("refuses to encode documents, which need the model", async () => {
    putTable("once");
    encoder = await openQueryEncoder(config());
    await assert.rejects(encoder.encodeDocuments(["water"]), { code: "encode_unsupported" });
  });

  it("asks a coordinator for neither graph nor weights: manifest, tokenizer and lexicon do", async () => {
    const lexical = path.join(directory, "lexical");
    cpSync(tinyCheckpoint("lexical"), lexical, { recursive: true });
    rmSync(path.join(lexical, "model.onnx"));
    encoder = await openCoordinatorEncoder(testConfig({ "model.path": lexical }));
    const whole = await openEncoder(testConfig({ "model.path": tinyCheckpoint("lexical") }));
    try {
      const texts = ["the water of the river", "", "Ship 42-B, and the ship again"];
      assert.deepEqual(await encoder.literals(texts), await whole.literals(texts));
      assert.equal(encoder.manifest.fingerprint, whole.manifest.fingerprint);
      assert.deepEqual(encoder.lexicon?.idf_range, whole.lexicon?.idf_range);
    } finally {
      await whole.close();
    }
    for (const refused of [encoder.encodeDocuments(["water"]), encoder.encodeQueries(["water"])]) {
      await assert.rejects(refused, { code: "encode_unsupported" });
    }
    const lacking = openEncoder(testConfig({ "model.path": lexical }));
    await assert.rejects(lacking, { code: "model_invalid" });
  });

  it("refuses weights that are a link out of the graph's folder, and takes a folder of links", async () => {
    const blobs = path.join(directory, "blobs");
    const inside = path.join(directory, "checkpoint");
    mkdirSync(blobs);
    cpSync(tinyCheckpoint("bi"), inside, { recursive: true });
    const link = (name: string, content: string) => {
      writeFileSync(path.join(blobs, name), content);
      const file = path.join(inside, "manifest.json");
      const manifest = JSON.parse(readFileSync(file, "utf8")) as { files: Record<string, object> };
      const sha256 = createHash("sha256").update(content).digest("hex");
      manifest.files[name] = { sha256, bytes: Buffer.byteLength(content) };
      writeFileSync(file, JSON.stringify(manifest));
      symlinkSync(path.join(blobs, name), path.join(inside, name));
    };
    link("model.onnx_data", "weights");
    await assert.rejects(
      openCheckpoint(inside),
      (thrown: unknown) =>
        thrown instanceof CspladeError &&
        thrown.code === "model_invalid" &&
        /outside the folder/.test(thrown.message) &&
        /cp -RL/.test(thrown.hint ?? ""),
    );
    cpSync(path.join(inside, "model.onnx"), path.join(blobs, "model.onnx"));
    rmSync(path.join(inside, "model.onnx"));
    symlinkSync(path.join(blobs, "model.onnx"), path.join(inside, "model.onnx"));
    assert.equal((await openCheckpoint(inside)).directory, inside);
  });

  it("leaves documents to the model where both are asked of one encoder", async () => {
    putTable("once");
    encoder = await openEncoder(config());
    const model = await openEncoder(testConfig({ "model.path": directory }));
    try {
      const text = "the water of the river";
      const [literals] = await encoder.literals([text]);
      const [query] = await encoder.encodeQueries([text]);
      for (const id of vectorOf(query).keys())
        assert.ok(literals?.ids.includes(id), "own tokens only");
      const [document] = await encoder.encodeDocuments([text]);
      const [same] = await model.encodeDocuments([text]);
      assert.deepEqual(vectorOf(document), vectorOf(same));
    } finally {
      await model.close();
    }
  });

  it("says what is wrong when the table is missing, has holes or another size", async () => {
    const refused = (pattern: RegExp) => (thrown: unknown) =>
      thrown instanceof CspladeError &&
      thrown.code === "model_invalid" &&
      pattern.test(thrown.message);
    await assert.rejects(openQueryEncoder(config()), refused(/no table of query weights/));
    putTable("once", weights.slice(1));
    await assert.rejects(openQueryEncoder(config()), refused(/weights; the vocabulary has/));
    put(QUERY_TABLE_FILE, '{"repeated":"once","weights":[1,-2]}');
    await assert.rejects(openQueryEncoder(config()), refused(/cannot be used/));
  });
});
