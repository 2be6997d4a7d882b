import assert from "node:assert/strict";
import fc from "fast-check";
import { htmlText, readableHtml, readHtml } from "../../../src/text/html-text.js";

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

  it("has the words of a field: entities decoded, blocks apart, a title first, and no attribute", () => {
    assert.equal(
      htmlText(
        '<p class="secret">Caf&eacute; &amp; <a href="secret">bar</a></p><ul><li>a<li>b</ul>&#x2603;',
      ),
      "Café & bar\na\nb\n☃",
    );
    assert.equal(htmlText("<title>Named</title><h1>Head</h1>x"), "Named\nHead\nx");
    assert.equal(htmlText("<script>secret</script><style>p { top: 0 }</style>"), "");
    assert.equal(htmlText("a text without any, 1 < 2 > 0"), "a text without any, 1 < 2 > 0");
    assert.equal(htmlText("<SCRIPT>secret</SCRIPT>seen"), "seen");
  });

  it("is read whatever it is, and never a line of it is blank", () => {
    const pieces = fc.constantFrom(
      "<",
      ">",
      "</",
      "script",
      "title",
      "h1",
      "<!--",
      "&",
      "&#",
      "]]>",
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(pieces, fc.string({ unit: "binary" }))), (parts) => {
        const text = htmlText(parts.join(""));
        if (text === "") return;
        for (const line of text.split("\n")) assert.equal(line, shown(line));
        for (const line of text.split("\n")) assert.notEqual(line, "");
      }),
    );
  });

  it("has a form of the same length in which only its words stand, at their places", () => {
    const html = '<p class="fear">a <b>fear</b> of<script>no</script> caf&eacute;s</p>';
    assert.equal(
      readableHtml(html),
      html.replaceAll(/<script>no<.script>|<[^>]+>|&eacute;/g, (cut) => " ".repeat(cut.length)),
    );
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const shown = readableHtml(text);
        assert.equal(shown.length, text.length);
        for (let i = 0; i < text.length; i++) {
          assert.ok(shown.charAt(i) === " " || shown.charAt(i) === text.charAt(i));
        }
      }),
    );
  });

  it("takes no longer by element for being deep", () => {
    const depth = 100_000;
    const started = performance.now();
    assert.equal(htmlText("<i>x".repeat(depth)), "x".repeat(depth));
    assert.ok(performance.now() - started < 5_000);
  });
});
