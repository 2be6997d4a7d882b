import assert from "node:assert/strict";
import path from "node:path";
import { packageRoot } from "../../../src/config/package-root.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { fieldOrigins, type OriginField } from "../../../src/encoder/origins.js";
import { termsOf } from "../../../src/sparse/sparse-vector.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const FEAR = "a morbid fear of being closed in a confined space, such as elevators or tunnels";
const LONG = Array.from(
  { length: 30 },
  (_, i) => `Page ${i} is about a river, a town and the people who live there.`,
).join(" ");

const MODELS = {
  "a model with a lexical part": path.join(packageRoot, "models", "csplade-minilm-words"),
  "a model that is read at a prompt": tinyCheckpoint("prompt"),
  "a model of tokens": tinyCheckpoint("bi"),
};

for (const [name, folder] of Object.entries(MODELS)) {
  describe(`the origins of terms of ${name}`, function () {
    this.timeout(120_000);
    let encoder: Encoder;
    before(async () => {
      encoder = await openEncoder(testConfig({ "model.path": folder }));
    });
    after(() => encoder.close());

    async function addedTo(text: string): Promise<number[]> {
      const [encoded] = await encoder.encodeDocuments([text], { merged: true });
      const [own] = await encoder.literals([text]);
      const weights = new Map(encoded!.passages.flatMap(({ vector }) => [...termsOf(vector)]));
      return [...weights.keys()].filter((id) => !own!.ids.includes(id)).slice(0, 12);
    }

    async function originsOf(fields: readonly OriginField[], passage?: number) {
      let texts = 0;
      const terms = await addedTo(fields.map(({ text }) => text).join(" "));
      const origins = await fieldOrigins({
        fields,
        terms,
        passage,
        encoder,
        encode(some, max_passages) {
          texts += some.length;
          return encoder.encodeDocuments(some, { max_passages, merged: true });
        },
      });
      return { terms, origins, texts };
    }

    it("stand in the field that they name, at their places", async () => {
      const fields = [
        { name: "title", text: "Claustrophobia", isHtml: false },
        { name: "text", text: FEAR, isHtml: false },
      ];
      const { origins, texts } = await originsOf(fields);
      assert.ok(origins.size > 0 && texts <= 65, `${origins.size} in ${texts}`);
      for (const { field, start, end, text, share } of [...origins.values()].flat()) {
        const value = fields.find((each) => each.name === field)!.text;
        assert.equal(value.slice(start, end), text);
        assert.match(text, /^[\p{L}\p{N}]+$/u);
        assert.ok(share > 0 && share <= 1, String(share));
      }
    });

    it("are words of the passage that a term stands in, of a text of many", async () => {
      const fields = [{ name: "text", text: `${LONG} ${FEAR}`, isHtml: false }];
      const { origins, texts } = await originsOf(fields);
      const [whole] = await encoder.encodeDocuments([fields[0]!.text]);
      assert.ok(whole!.passages.length > 1);
      assert.ok(origins.size > 0);
      assert.ok(texts <= 65 + Math.min(32, whole!.passages.length), String(texts));
      const last = whole!.passages.length - 1;
      const { start, end } = whole!.passages[last]!;
      const inLast = await originsOf(fields, last);
      for (const span of [...inLast.origins.values()].flat()) {
        assert.ok(span.start >= start && span.end <= end);
      }
    });

    it("have their places in HTML where it is read as such, and never in its markup", async () => {
      const html = `<p class="fear">a morbid <b>fear</b> of <script>tunnels</script>being closed in</p>\n\n<i title='space'>a confined space</i>`;
      const { origins } = await originsOf([{ name: "body", text: html, isHtml: true }]);
      const shown = ["a", "morbid", "fear", "of", "being", "closed", "in", "confined", "space"];
      const markup = html.indexOf("tunnels");
      for (const { start, end, text } of [...origins.values()].flat()) {
        assert.equal(html.slice(start, end), text);
        assert.ok(shown.includes(text), text);
        assert.ok(start > html.indexOf(">") && (end < markup || start > markup + 7));
        assert.ok(end < html.indexOf("<i") || start > html.indexOf("'>"));
      }
    });

    it("are none of a text that has no words, or of no terms", async () => {
      const blank = [{ name: "text", text: " ", isHtml: false }];
      assert.equal((await originsOf(blank)).origins.size, 0);
      const request = { fields: [{ name: "text", text: FEAR, isHtml: false }], terms: [], encoder };
      const encode = () => Promise.reject(new Error("nothing is encoded"));
      assert.equal((await fieldOrigins({ ...request, encode })).size, 0);
    });
  });
}

describe("the origins of terms of a model with a lexical part, in words", function () {
  this.timeout(60_000);

  it("are what a reader would name: trains of a railway, fear of being afraid", async () => {
    const encoder = await openEncoder(
      testConfig({ "model.path": MODELS["a model with a lexical part"] }),
    );
    try {
      const text = `${FEAR}; people who suffer from it avoid trains`;
      const [railway, afraid] = await Promise.all(
        ["railway", "afraid"].map(async (word) => {
          const [encoded] = await encoder.encodeDocuments([word], { words: true });
          return encoded!.passages[0]!.words![0]!.id;
        }),
      );
      const origins = await fieldOrigins({
        fields: [{ name: "text", text, isHtml: false }],
        terms: [railway!, afraid!],
        encoder,
        encode: (texts, max_passages) =>
          encoder.encodeDocuments(texts, { max_passages, merged: true }),
      });
      assert.deepEqual(
        origins.get(railway!)?.map((span) => span.text),
        ["trains"],
      );
      assert.deepEqual(
        origins.get(afraid!)?.map((span) => span.text),
        ["fear"],
      );
    } finally {
      await encoder.close();
    }
  });
});
