import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import fc from "fast-check";
import { readHtml } from "../../../src/sources/html-text.js";
import { sourceLines } from "../../../src/sources/source-file.js";
import { spool, type SpoolRequest } from "../../../src/sources/spool.js";

const escaped = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const shown = (text: string) => text.replaceAll(/\s+/g, " ").trim();

describe("HTML", () => {
  it("gives every word that is shown, and none of scripts, styles, templates and comments", () => {
    const words = fc.string({ unit: "grapheme" }).map((each) => each.replaceAll("\0", ""));
    const hidden = fc.constantFrom("script", "style", "template", "noscript", "svg");
    fc.assert(
      fc.property(words, words, hidden, (before, after, name) => {
        const html = `<p>${escaped(before)}<${name}><b>secret</b></${name}><!-- secret --></p><div>${escaped(after)}`;
        const lines = [before, after].map(shown).filter((line) => line !== "");
        assert.equal(readHtml(html).text, lines.join("\n"));
      }),
    );
  });

  it("keeps words together that one line has, and apart that blocks have; a script that is never closed has no text", () => {
    const html =
      "<head><title>A &amp; B</title></head><h1>Head</h1>un<b>believ</b>able<br>two<td>x</td><td>y</td><script>let a = '<p>no'";
    assert.deepEqual(readHtml(html), {
      title: "A & B",
      text: "Head\nunbelievable\ntwo\nx\ny",
    });
    assert.equal(readHtml("<h1>The <i>first</i></h1><h1>second</h1>").title, "The first");
    assert.equal(readHtml("no title").title, undefined);
  });
});

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
