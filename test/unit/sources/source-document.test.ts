import assert from "node:assert/strict";
import { parseDocument, storedSourceDocument } from "../../../src/sources/source-document.js";

const FIELDS = { id_field: "_id", text_fields: ["title", "body"], html_fields: ["body"] };
const LINE =
  '{"title":"1 <b>2</b>", "body":["<p>One</p><script>secret</script>","<style>secret</style>","&lt;two&gt;"]}';

describe("a document with HTML in a field", () => {
  it("has the HTML's text there, its other fields as they are, and its own bytes for its body", () => {
    const parsed = parseDocument(Buffer.from(LINE), FIELDS);
    const stored = storedSourceDocument("a", LINE, () => false, FIELDS);
    for (const each of [parsed, stored]) {
      assert.ok("document" in each);
      assert.equal(each.document.text, "1 <b>2</b> One <two>");
      assert.equal(each.document.body.text, LINE);
    }
  });

  it("has no text where its HTML has none, and all of its characters where nobody asked", () => {
    const line = Buffer.from('{"body":"<script>secret</script>"}');
    const asked = parseDocument(line, FIELDS);
    assert.equal("problem" in asked && asked.problem.code, "document_no_text");
    const plain = parseDocument(line, { id_field: "_id", text_fields: ["body"] });
    assert.equal("document" in plain && plain.document.text, "<script>secret</script>");
  });
});
