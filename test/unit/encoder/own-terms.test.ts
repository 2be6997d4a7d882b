import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { openEncoder } from "../../../src/encoder/encoder.js";
import { openQueryEncoder } from "../../../src/encoder/query-encoder.js";
import { QUERY_TABLE_FILE } from "../../../src/encoder/query-table.js";
import { termsOf } from "../../../src/sparse/sparse-vector.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const TEXT = "the water of the city";

interface WrittenManifest {
  readonly vocabulary_size: number;
  readonly files: Record<string, object>;
}

describe("a checkpoint that adds nothing to questions", () => {
  const directories: string[] = [];
  after(() => directories.forEach((directory) => rmSync(directory, { recursive: true })));

  /** The tiny model; with a table of factors, and as its manifest says. */
  function checkpoint(input: object, factors?: (id: number) => number): string {
    const directory = mkdtempSync(path.join(os.tmpdir(), "csplade-own-"));
    directories.push(directory);
    cpSync(tinyCheckpoint("bi"), directory, { recursive: true });
    const file = path.join(directory, "manifest.json");
    const manifest = JSON.parse(readFileSync(file, "utf8")) as WrittenManifest;
    const files = { ...manifest.files };
    if (factors !== undefined) {
      const weights = Array.from({ length: manifest.vocabulary_size }, (_, id) => factors(id));
      const content = JSON.stringify({ repeated: "once", weights });
      writeFileSync(path.join(directory, QUERY_TABLE_FILE), content);
      const sha256 = createHash("sha256").update(content).digest("hex");
      files[QUERY_TABLE_FILE] = { sha256, bytes: Buffer.byteLength(content) };
    }
    writeFileSync(file, JSON.stringify({ ...manifest, files, input }));
    return directory;
  }

  async function encoded(directory: string) {
    const encoder = await openEncoder(testConfig({ "model.path": directory }));
    const [query] = await encoder.encodeQueries([TEXT]);
    const [document] = await encoder.encodeDocuments([TEXT]);
    const [literals] = await encoder.literals([TEXT]);
    await encoder.close();
    const terms = (text: typeof query) => [
      ...termsOf(
        text?.passages[0]?.vector ?? { ids: new Uint32Array(), weights: new Float32Array() },
      ),
    ];
    return { query: terms(query), document: terms(document), own: new Set(literals?.ids) };
  }

  it("keeps of a question the tokens that stand in it, times their factors, and leaves documents alone", async () => {
    const whole = await encoded(checkpoint({ document: {}, query: {} }));
    const some = [...whole.own].find((id) => whole.query.some(([term]) => term === id));
    const factor = (id: number) => (id === some ? 0.5 : id % 2);
    const own = await encoded(checkpoint({ document: {}, query: { terms: "own" } }, factor));
    assert.ok(
      whole.query.some(([id]) => !whole.own.has(id)),
      "the model adds terms",
    );
    const expected = whole.query
      .filter(([id]) => whole.own.has(id) && factor(id) > 0)
      .map(([id, weight]): [number, number] => [id, Math.fround(weight * factor(id))])
      .sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    assert.ok(expected.length > 0);
    assert.deepEqual(own.query, expected);
    assert.deepEqual(own.document, whole.document);
  });

  it("is refused without factors, and as a table for questions without inference", async () => {
    const input = { document: {}, query: { terms: "own" } };
    await assert.rejects(encoded(checkpoint(input)), { code: "model_invalid" });
    const directory = checkpoint(input, () => 1);
    const config = testConfig({ "model.path": directory, "query.encoder": "table" });
    await assert.rejects(openQueryEncoder(config), { code: "model_invalid" });
  });
});
