import assert from "node:assert/strict";
import { givenIdentity } from "../../../src/config/document-identity.js";
import { contentHash, textHash } from "../../../src/index/content-hash.js";
import { contradictions, demandNoContradiction } from "../../../src/index/index-identity.js";
import { metaOf, parseMeta, planOf, type IndexPlan } from "../../../src/index/index-meta.js";
import { JsonObject } from "../../../src/json/json-object.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const PLAN: IndexPlan = {
  model: { fingerprint: "0123456789abcdef", name: "m", variant: "bi", vocabulary_size: 100 },
  passages: "merged",
  text_fields: ["title", "body"],
  title_field: "title",
};
const HALF: IndexPlan = { ...PLAN, expansion: 0.5 };
const SHAPE = { prune_type: "none", prune_ratio: 0, quantize_bits: 9, max_passages: 200 } as const;

describe("the expansion of an index's documents", () => {
  it("is in its memory, which earlier versions then refuse, and leaves it as it was where all counts", () => {
    for (const expansion of [0, 0.5]) {
      const meta = metaOf({ ...PLAN, expansion }, "1.0.0");
      assert.deepEqual([meta.format, meta.expansion], [4, expansion]);
      assert.equal(planOf(parseMeta(meta, "i")).expansion, expansion);
    }
    const all = metaOf({ ...PLAN, expansion: 1 }, "1.0.0");
    assert.deepEqual(all, metaOf(PLAN, "1.0.0"));
    assert.equal(all.format, 1);
    assert.ok(!("expansion" in all) && !("expansion" in planOf(all)));
    assert.equal(metaOf({ ...PLAN, html_fields: ["body"] }, "1.0.0").format, 3);
  });

  it("changes the hashes of a document and of its text; where all counts they are what they were", () => {
    const body = JsonObject.of({ body: "<p>One</p>" });
    const hashesOf = (plan: IndexPlan) => [
      contentHash(body, plan, SHAPE),
      textHash("One", plan, SHAPE),
    ];
    assert.equal(hashesOf(PLAN)[0], "_z8UG2pQ8w7");
    assert.deepEqual(hashesOf({ ...PLAN, expansion: 1 }), hashesOf(PLAN));
    const all = [PLAN, HALF, { ...PLAN, expansion: 0 }].flatMap(hashesOf);
    assert.equal(new Set(all).size, all.length);
  });

  it("is refused by an index that has another one, also by one that says nothing and so has all", () => {
    const cases: [IndexPlan, number, RegExp | undefined][] = [
      [HALF, 0.5, undefined],
      [PLAN, 1, undefined],
      [HALF, 0, /document.expansion: the index has "0.5", this command "0"/],
      [HALF, 1, /the index has "0.5", this command "1"/],
      [PLAN, 0.5, /the index has "1", this command "0.5"/],
    ];
    for (const [plan, expansion, message] of cases) {
      const demand = () => demandNoContradiction("i", contradictions(plan, { expansion }));
      if (message === undefined) demand();
      else assert.throws(demand, { code: "index_invalid", message });
    }
  });

  it("is given by a number from 0 to 1, or by none and all", () => {
    const given = (value: unknown) =>
      givenIdentity(testConfig({ "document.expansion": value }), (name) => /expansion/.test(name));
    assert.deepEqual(given("none"), { expansion: 0 });
    assert.deepEqual(given("all"), { expansion: 1 });
    assert.deepEqual(given("0.25"), { expansion: 0.25 });
    for (const wrong of ["half", "", 2, -0.1, true]) {
      assert.throws(() => given(wrong), { code: "config_invalid" });
    }
  });
});
