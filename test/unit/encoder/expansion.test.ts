import assert from "node:assert/strict";
import path from "node:path";
import fc from "fast-check";
import { packageRoot } from "../../../src/config/package-root.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { withExpansion } from "../../../src/encoder/expansion.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { termsOf, type SparseVector } from "../../../src/sparse/sparse-vector.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const TEXTS = ["a person who studies stars", "zebra", "", "money paid for a place to live"];

/** A model whose terms are whole words, and one whose terms are tokens. */
const MODELS = {
  "a model with a lexical part": path.join(packageRoot, "models", "csplade-minilm-words"),
  "a model of tokens": undefined,
};

for (const [name, folder] of Object.entries(MODELS)) {
  describe(`expansion control of ${name}`, function () {
    this.timeout(60_000);
    let encoder: Encoder;
    let whole: { readonly vector: SparseVector }[];
    before(async () => {
      encoder = await openEncoder(testConfig(folder === undefined ? {} : { "model.path": folder }));
      const encoded = await encoder.encodeQueries(TEXTS);
      whole = encoded.flatMap(({ passages }) => passages);
    });
    after(() => encoder.close());

    const at = (factor: number) =>
      withExpansion(
        encoder,
        TEXTS.filter((text) => text !== ""),
        whole,
        factor,
      );
    const weightsOf = ({ vector }: { readonly vector: SparseVector }) => new Map(termsOf(vector));

    it("keeps at 0 the weights of the text's own terms and nothing else", async () => {
      const texts = TEXTS.filter((text) => text !== "");
      const own = await encoder.literals(texts);
      const exact = await at(0);
      let added = 0;
      exact.forEach((question, i) => {
        const all = weightsOf(whole[i]!);
        const stands = new Set(own[i]!.ids);
        const kept = [...all].filter(([id]) => stands.has(id));
        added += all.size - kept.length;
        assert.deepEqual(weightsOf(question), new Map(kept));
      });
      assert.ok(added > 5, `the model adds terms: ${added}`);
    });

    it("changes nothing at 1, and scales what was added in between", async () => {
      assert.deepEqual(await at(1), whole);
      const exact = await at(0);
      await fc.assert(
        fc.asyncProperty(fc.double({ min: 0, max: 1, noNaN: true }), async (factor) => {
          const scaled = await at(factor);
          scaled.forEach((question, i) => {
            const own = weightsOf(exact[i]!);
            const now = weightsOf(question);
            for (const [id, weight] of weightsOf(whole[i]!)) {
              const expected = own.has(id) ? weight : Math.fround(weight * factor);
              assert.ok(Math.abs((now.get(id) ?? 0) - expected) <= 1.2e-38, `${id} at ${factor}`);
            }
            assert.ok([...now.keys()].every((id) => weightsOf(whole[i]!).has(id)));
          });
        }),
        { numRuns: 30 },
      );
    });

    it("refuses what is no factor", async () => {
      for (const factor of [-0.1, 1.1, NaN]) {
        await assert.rejects(
          at(factor),
          (thrown) => thrown instanceof CspladeError && thrown.code === "query_invalid",
        );
      }
    });
  });
}
