import assert from "node:assert/strict";
import { everydayNouns, wordNetFolder } from "../../../src/demo/wordnet.js";

describe("the everyday nouns of WordNet", function () {
  this.timeout(60_000);

  it("are the words that it explains others with, the same ones each time", async () => {
    const nouns = await everydayNouns(wordNetFolder(), 4000);
    assert.equal(nouns.length, 4000);
    const titles = nouns.map(({ title }) => title);
    for (const title of ["rent", "epidemic", "astronomer, uranologist, stargazer"]) {
      assert.ok(titles.includes(title), title);
    }
    assert.ok(!titles.some((title) => title.startsWith("claustrophobia")), "hardly a word");
    assert.ok(nouns.every(({ part_of_speech }) => part_of_speech === "noun"));
    assert.deepEqual(await everydayNouns(wordNetFolder(), 20), nouns.slice(0, 20));
  });

  it("are no more than there are", async () => {
    const all = await everydayNouns(wordNetFolder(), 1_000_000);
    assert.ok(all.length > 20_000 && all.length < 25_000, `${all.length}`);
    assert.equal(new Set(all.map(({ _id }) => _id)).size, all.length);
  });
});
