import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { sourceLines } from "../../../src/sources/source-file.js";
import { spool, type SpoolRequest } from "../../../src/sources/spool.js";

describe("a folder of pages", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-pages-"));
    const write = (name: string, content: string | Buffer) => {
      mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
      writeFileSync(path.join(folder, name), content);
    };
    write(
      "guide/front.md",
      '---\r\ntitle: "From: front"\r\ntags: [a, b]\r\ntext: lost\r\n---\r\n# Not this\r\nBody',
    );
    write("guide/heading.md", "```\n# code\n```\n\n## The heading ##\ntext");
    write("guide/rule.md", "---\na rule\n---\nand text");
    write("page.HTML", "\ufeff<title>Page</title><style>no</style><p>Hello");
    write("plain.txt", "line\n\u2028other");
    write("bad.md", "---\na: [\n---\nx");
    write("latin.txt", Buffer.from([0x63, 0xe4]));
    write("large.txt", "x".repeat(2_000));
    write(".git/hidden.md", "hidden");
    write("picture.png", "no text");
    symlinkSync(path.join(folder, "plain.txt"), path.join(folder, "link.txt"));
  });
  after(() => rmSync(folder, { recursive: true }));

  const spooled = (inputs: string[], more: Partial<SpoolRequest> = {}) =>
    spool({
      inputs,
      fromDeadLetters: false,
      maxDocumentBytes: 1_000,
      folder: path.join(folder, ".spool"),
      stdin: Readable.from([]),
      ...more,
    });

  it("is a document per file: path as id, title from front matter, page, heading or name, faults beside", async () => {
    const ready = await spooled([folder]);
    const { files } = ready;
    assert.deepEqual(files[0]?.origin, { name: folder, format: "folder", compression: "none" });
    const found = new Map<string, unknown>();
    for await (const { found: line } of sourceLines(files[0], 1_000)) {
      if (line === undefined) continue;
      const { id = "", content, fault } = line;
      found.set(id, fault?.code ?? JSON.parse(content.toString()));
    }
    await ready.remove();
    assert.deepEqual(Object.fromEntries(found), {
      "bad.md": "document_malformed",
      "guide/front.md": {
        title: "From: front",
        tags: ["a", "b"],
        text: "# Not this\r\nBody",
        path: "guide/front.md",
      },
      "guide/heading.md": {
        title: "The heading",
        text: "```\n# code\n```\n\n## The heading ##\ntext",
        path: "guide/heading.md",
      },
      "guide/rule.md": {
        title: "rule",
        text: "---\na rule\n---\nand text",
        path: "guide/rule.md",
      },
      "large.txt": "document_too_large",
      "latin.txt": "document_malformed",
      "page.HTML": { title: "Page", text: "Hello", path: "page.HTML" },
      "plain.txt": { title: "plain", text: "line\n\u2028other", path: "plain.txt" },
    });
  });

  it("is none without such files, and a file is none", async () => {
    mkdirSync(path.join(folder, ".empty"));
    await assert.rejects(spooled([path.join(folder, ".empty")]), { code: "source_unreadable" });
    const file = path.join(folder, "plain.txt");
    await assert.rejects(spooled([file], { format: "folder" }), { code: "source_unsupported" });
  });
});
