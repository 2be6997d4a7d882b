import assert from "node:assert/strict";
import path from "node:path";
import { packageRoot } from "../../../src/config/package-root.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

/** The heaviest terms as the training package's own encoder gives them, and how many there are. */
const EXPECTED = [
  {
    role: "query",
    text: "birds that fly by night",
    count: 13,
    heaviest: [
      [4743, 4.872],
      [3909, 4.601],
      [2305, 4.447],
      [3358, 0.887],
      [4111, 0.802],
      [12261, 0.758],
      [22529, 0.744],
      [6870, 0.741],
    ],
  },
  {
    role: "query",
    text: "Boundary-layer flow over a heated plate",
    count: 16,
    heaviest: [
      [5127, 4.864],
      [6192, 4.761],
      [6741, 4.044],
      [4834, 3.905],
      [3684, 3.874],
      [2058, 2.487],
      [23849, 1.214],
      [5435, 0.782],
    ],
  },
  {
    role: "document",
    text: "The Café’s owner hunted mice at night; 3 owls watched him.",
    count: 66,
    heaviest: [
      [12328, 4.58],
      [5690, 3.444],
      [2305, 3.418],
      [13547, 3.197],
      [3558189092, 3.089],
      [3954, 2.528],
      [2032, 2.423],
      [3422, 2.386],
    ],
  },
  {
    role: "document",
    text: "zzyzx",
    count: 61,
    heaviest: [
      [3020767795, 3.513],
      [15813, 1.258],
      [23564, 1.256],
      [11623, 0.949],
      [6108, 0.946],
      [5811, 0.917],
      [6506, 0.817],
      [6128, 0.813],
    ],
  },
] as const;

describe("models/csplade-minilm-words", () => {
  let encoder: Encoder;

  before(async () => {
    const directory = path.join(packageRoot, "models", "csplade-minilm-words");
    encoder = await openEncoder(testConfig({ "model.path": directory }));
  });
  after(() => encoder.close());

  for (const { role, text, count, heaviest } of EXPECTED) {
    it(`gives the vector that its makers give of the ${role} ${JSON.stringify(text)}`, async () => {
      const [encoded] =
        role === "query"
          ? await encoder.encodeQueries([text])
          : await encoder.encodeDocuments([text]);
      const vector = encoded?.passages[0]?.vector;
      assert.ok(vector !== undefined);
      assert.equal(vector.ids.length, count);
      for (const [id, weight] of heaviest) {
        const found = vector.weights[vector.ids.indexOf(id)] ?? 0;
        assert.ok(Math.abs(found - weight) < 0.03 * weight, `${id}: ${found} for ${weight}`);
      }
    });
  }
});
