import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import {
  findFiles,
  meanLineBytes,
  readFileSlice,
  type ReadableFile,
} from "../../../src/reindex/file-slices.js";

const plain = (file: string): ReadableFile => ({
  path: file,
  compression: "none",
  form: "document",
  start: 0,
});

describe("slices of a file", () => {
  let folder: string;
  before(() => (folder = mkdtempSync(path.join(os.tmpdir(), "csplade-slices-"))));
  after(() => rmSync(folder, { recursive: true }));

  const lines = fc.array(fc.string({ unit: "grapheme", maxLength: 12 }), { maxLength: 30 });

  function write(
    texts: readonly string[],
    newlineAtEnd: boolean,
  ): { file: string; kept: string[] } {
    const file = path.join(folder, "some.ndjson");
    const clean = texts.map((text) => text.replaceAll(/[\n\r]/g, "_"));
    writeFileSync(file, clean.join("\n") + (newlineAtEnd ? "\n" : ""));
    return { file, kept: clean.filter((text) => /[^ \t\v\f]/.test(text)) };
  }

  async function read(file: string, from: number, to: number, aligned = false) {
    const found = [];
    for await (const line of readFileSlice(plain(file), { from, to, aligned }, 1e6)) {
      found.push({ text: line.found.content.toString(), next: line.next });
    }
    return found;
  }

  it("together hold every line once, wherever the file is cut", async () => {
    await fc.assert(
      fc.asyncProperty(
        lines,
        fc.boolean(),
        fc.integer({ min: 1, max: 40 }),
        async (texts, end, step) => {
          const { file, kept } = write(texts, end);
          const size = Buffer.byteLength(texts.join("\n")) + 40;
          const found: string[] = [];
          for (let from = 0; from < size; from += step) {
            for (const { text } of await read(file, from, Math.min(size, from + step)))
              found.push(text);
          }
          assert.deepEqual(found, kept);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("go on after any line where a checkpoint says", async () => {
    await fc.assert(
      fc.asyncProperty(lines, fc.nat(), async (texts, at) => {
        const { file } = write(texts, true);
        const all = await read(file, 0, 1e6);
        if (all.length === 0) return;
        const stop = at % all.length;
        const rest = await read(file, all[stop]?.next ?? 0, 1e6, true);
        assert.deepEqual(rest, all.slice(stop + 1));
      }),
      { numRuns: 60 },
    );
  });

  it("tell packed files by their bytes, and keep the order of all lines over files", async () => {
    const { file } = write(['{"n":1}', '{"n":2}'], true);
    const packed = path.join(folder, "packed.ndjson");
    writeFileSync(packed, gzipSync('{"n":3}\n{"n":40}\n'));
    const files = await findFiles([file, packed]);
    assert.deepEqual(
      files.map(({ compression }) => compression),
      ["none", "gzip"],
    );
    assert.ok((files[1]?.base ?? 0) > (files[0]?.bytes ?? Infinity));
    assert.equal(await meanLineBytes({ ...plain(packed), compression: "gzip" }), 8.5);
    await assert.rejects(findFiles([path.join(folder, "none.ndjson")]), {
      code: "source_unreadable",
    });
  });

  it("say in a sentence that a file is gone or is no gzip", async () => {
    const gone = { ...plain(path.join(folder, "gone.ndjson")), compression: "gzip" } as const;
    const range = { from: 0, to: 10, aligned: true };
    await assert.rejects(readFileSlice(gone, range, 10).next(), { code: "source_unreadable" });
    const { file } = write(["plain"], true);
    await assert.rejects(readFileSlice({ ...plain(file), compression: "gzip" }, range, 10).next(), {
      code: "source_unreadable",
    });
  });
});
