import assert from "node:assert/strict";
import { demandHtmlTexts, givenIdentity } from "../../../src/config/document-identity.js";
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
const HTML: IndexPlan = { ...PLAN, html_fields: ["body"] };
const SHAPE = { prune_type: "none", prune_ratio: 0, quantize_bits: 9, max_passages: 200 } as const;

describe("fields of HTML", () => {
  it("are in an index's memory, which earlier versions then refuse, and leave it as it was where there are none", () => {
    const meta = metaOf(HTML, "1.0.0");
    assert.deepEqual([meta.format, meta.html_fields], [3, ["body"]]);
    assert.deepEqual(planOf(parseMeta(meta, "i")).html_fields, ["body"]);
    const without = metaOf({ ...PLAN, html_fields: [] }, "1.0.0");
    assert.deepEqual(without, metaOf(PLAN, "1.0.0"));
    assert.equal(without.format, 1);
    assert.equal(metaOf({ ...PLAN, mean_length: 7 }, "1.0.0").format, 2);
    assert.ok(!("html_fields" in without) && !("html_fields" in planOf(without)));
  });

  it("change the hash of a document, and of a text only by changing the text; without them it is what it was", () => {
    const body = JsonObject.of({ body: "<p>One</p>" });
    const hashOf = (plan: IndexPlan) => contentHash(body, plan, SHAPE);
    assert.equal(hashOf(PLAN), "_z8UG2pQ8w7");
    assert.equal(hashOf({ ...PLAN, html_fields: [] }), hashOf(PLAN));
    assert.notEqual(hashOf(HTML), hashOf(PLAN));
    assert.equal(textHash("One", HTML, SHAPE), textHash("One", PLAN, SHAPE));
  });

  it("are refused by an index that has others, or none, whichever side says so", () => {
    const cases: [IndexPlan, readonly string[], RegExp | undefined][] = [
      [HTML, ["body"], undefined],
      [PLAN, [], undefined],
      [HTML, ["title"], /html_fields: the index has "body", this command "title"/],
      [PLAN, ["body"], /html_fields: the index has "none", this command "body"/],
      [HTML, [], /html_fields: the index has "body", this command "none"/],
    ];
    for (const [plan, html_fields, message] of cases) {
      const demand = () => demandNoContradiction("i", contradictions(plan, { html_fields }));
      if (message === undefined) demand();
      else assert.throws(demand, { code: "index_invalid", message });
    }
  });

  it("are given by a list in any order, by an empty one too, and are text fields", () => {
    const given = (value: unknown) =>
      givenIdentity(testConfig({ "ingest.html_fields": value }), (name) => /html/.test(name));
    assert.deepEqual(given("title, body"), { html_fields: ["body", "title"] });
    assert.deepEqual(given(""), { html_fields: [] });
    assert.throws(() => given("body,body"), { code: "config_invalid" });
    demandHtmlTexts(HTML);
    demandHtmlTexts(PLAN);
    assert.throws(() => demandHtmlTexts({ ...PLAN, html_fields: ["bdoy"] }), {
      code: "config_invalid",
      message: /bdoy.*title, body/,
    });
  });
});
