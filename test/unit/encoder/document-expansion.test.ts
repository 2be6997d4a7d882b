import assert from "node:assert/strict";
import path from "node:path";
import fc from "fast-check";
import { packageRoot } from "../../../src/config/package-root.js";
import type { EncodedText } from "../../../src/encoder/encoder-protocol.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { encodeExpanded } from "../../../src/encoder/expansion.js";
import { maxMerge, termsOf, type SparseVector } from "../../../src/sparse/sparse-vector.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const LONG = Array.from(
  { length: 30 },
  (_, i) => `Page ${i} is about a river, a town and the people who live there.`,
).join(" ");
const TEXTS = ["a morbid fear of closed spaces", "", LONG, "zebra"];

const MODELS = {
  "a model with a lexical part": path.join(packageRoot, "models", "csplade-minilm-words"),
  "a model whose terms are apart from words": path.join(
    packageRoot,
    "models",
    "csplade-smollm2-135m-prompt",
  ),
  "a model of tokens": tinyCheckpoint("bi"),
};

for (const [name, folder] of Object.entries(MODELS)) {
  describe(`expansion control of the documents of ${name}`, function () {
    this.timeout(120_000);
    let encoder: Encoder;
    before(async () => {
      encoder = await openEncoder(testConfig({ "model.path": folder }));
    });
    after(() => encoder.close());

    const weightsOf = (vector: SparseVector) => new Map(termsOf(vector));
    const wholeOf = ({ passages }: EncodedText) =>
      weightsOf(maxMerge(passages.map(({ vector }) => vector)));

    it("keeps at none what stands in the text, with its weights, and nothing else", async () => {
      for (const merged of [true, false]) {
        const whole = await encoder.encodeDocuments(TEXTS, { merged });
        const exact = await encodeExpanded(encoder, TEXTS, 0, { merged });
        assert.deepEqual(
          exact.map(({ passages }) => passages.map(({ start, end }) => [start, end])),
          whole.map(({ passages }) => passages.map(({ start, end }) => [start, end])),
        );
        let added = 0;
        for (const [i, text] of TEXTS.entries()) {
          const parts = merged
            ? [{ text, before: [whole[i]!], after: [exact[i]!] }]
            : whole[i]!.passages.map((passage, n) => ({
                text: text.slice(passage.start, passage.end),
                before: [{ ...whole[i]!, passages: [passage] }],
                after: [{ ...exact[i]!, passages: [exact[i]!.passages[n]!] }],
              }));
          for (const part of parts) {
            if (part.text === "") continue;
            const [own] = await encoder.literals([part.text]);
            const all = wholeOf(part.before[0]!);
            const kept = new Map([...all].filter(([id]) => own!.ids.includes(id)));
            added += all.size - kept.size;
            assert.deepEqual(wholeOf(part.after[0]!), kept);
          }
        }
        assert.ok(added > 5, `the model adds terms: ${added}`);
      }
    });

    it("is nothing at all, and a factor of what was added in between", async () => {
      const some = TEXTS.slice(0, 1);
      const all = await encoder.encodeDocuments(some);
      assert.deepEqual(await encodeExpanded(encoder, some, 1), all);
      assert.deepEqual(await encodeExpanded(encoder, some), all);
      const own = wholeOf((await encodeExpanded(encoder, some, 0))[0]!);
      await fc.assert(
        fc.asyncProperty(fc.double({ min: 0.01, max: 1, noNaN: true }), async (factor) => {
          const now = wholeOf((await encodeExpanded(encoder, some, factor))[0]!);
          for (const [id, weight] of wholeOf(all[0]!)) {
            const expected = own.has(id) ? weight : Math.fround(weight * factor);
            assert.ok(Math.abs((now.get(id) ?? 0) - expected) < 1e-6 * weight, `${id}`);
          }
        }),
        { numRuns: 5 },
      );
      await assert.rejects(encodeExpanded(encoder, some, 1.1), { code: "query_invalid" });
    });
  });
}
