import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { manifestSchema } from "../../../src/encoder/manifest.js";
import { hashedId, isHashedId } from "../../../src/sparse/term-id.js";
import { readVocabulary } from "../../../src/sparse/vocabulary.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";
import { WORD_PIECES, wordPieceFile } from "../../support/word-piece.js";

type ManifestFile = Record<string, unknown> & { files: Record<string, object> };

function readManifest(directory: string): ManifestFile {
  return JSON.parse(readFileSync(path.join(directory, "manifest.json"), "utf8")) as ManifestFile;
}

describe("a checkpoint of a sentence encoder with a WordPiece tokenizer", () => {
  let directory: string;
  let encoder: Encoder;

  before(async () => {
    directory = mkdtempSync(path.join(os.tmpdir(), "csplade-word-piece-"));
    cpSync(tinyCheckpoint("lexical"), directory, { recursive: true });
    const tokenizer = JSON.stringify(wordPieceFile);
    writeFileSync(path.join(directory, "tokenizer.json"), tokenizer);
    const manifest = readManifest(directory);
    manifest.files["tokenizer.json"] = {
      sha256: createHash("sha256").update(tokenizer).digest("hex"),
      bytes: Buffer.byteLength(tokenizer),
    };
    const changed = { ...manifest, pooling: "mean", activation: "relu" };
    writeFileSync(path.join(directory, "manifest.json"), JSON.stringify(changed));
    encoder = await openEncoder(testConfig({ "model.path": directory }));
  });
  after(async () => {
    await encoder.close();
    rmSync(directory, { recursive: true });
  });

  it("encodes texts into rows that are words, and the words of the texts", async () => {
    const text = "The zebra's DeadLocks are unaffable";
    const [document] = await encoder.encodeDocuments([text], { words: true });
    const [query] = await encoder.encodeQueries([text]);
    const vocabulary = readVocabulary(wordPieceFile);
    for (const passage of [document?.passages[0], query?.passages[0]]) {
      assert.ok(passage !== undefined);
      const { vector, words = [] } = passage;
      assert.deepEqual(
        words.map(({ id }) => id),
        [hashedId("zebra"), WORD_PIECES.indexOf("deadlock"), hashedId("unaff")],
      );
      for (const { id } of words) assert.ok(vector.ids.includes(id));
      for (const id of vector.ids) {
        assert.ok(isHashedId(id) || /^[a-z]{2,}$/.test(vocabulary.term(id)), vocabulary.term(id));
      }
    }
    assert.equal(document?.passages[0]?.tokens, 8);
  });

  it("has no passage for a text of which the tokenizer leaves nothing", async () => {
    const texts = ["\u200b\ufeff\0", "lock"];
    for (const encoded of [
      await encoder.encodeDocuments(texts),
      await encoder.encodeQueries(texts),
    ]) {
      assert.deepEqual(
        encoded.map(({ passages, failure }) => [passages.length, failure]),
        [
          [0, undefined],
          [1, undefined],
        ],
      );
    }
  });

  it("is refused with a pooling or an activation that is not known", () => {
    const manifest = readManifest(directory);
    assert.ok(manifestSchema.safeParse(manifest).success);
    for (const wrong of [{ pooling: "cls" }, { activation: "gelu" }, { pooling: undefined }]) {
      assert.ok(!manifestSchema.safeParse({ ...manifest, ...wrong }).success);
    }
  });
});
