import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { packageRoot } from "../../../src/config/package-root.js";
import { passageQuality, qualitySigns } from "../../../src/text/passage-quality.js";

const prose =
  "The boundary layer on a flat plate becomes turbulent where the Reynolds number is large enough, and " +
  "the point of transition moves forward when the surface is rough or the stream is disturbed.";

describe("quality of a passage", () => {
  it("is high for prose, in languages it knows and in scripts it does not judge", () => {
    for (const text of [
      prose,
      "Die Grenzschicht an einer ebenen Platte wird dort turbulent, wo die Reynoldszahl groß genug ist, und der Umschlag wandert nach vorn, wenn die Oberfläche rau ist.",
      "La couche limite sur une plaque plane devient turbulente là où le nombre de Reynolds est assez grand, et la transition avance quand la surface est rugueuse.",
      "平板上的边界层在雷诺数足够大的地方变为湍流，表面粗糙时转捩点前移。",
      "Пограничный слой на пластине становится турбулентным",
    ]) {
      assert.ok(passageQuality(text) >= 0.7, `${passageQuality(text)}: ${text}`);
    }
  });

  it("is low for what crawled pages are full of, and says which sign is", () => {
    const licence = readFileSync(path.join(packageRoot, "LICENSE"), "utf8").slice(2_000, 3_000);
    const low = [
      [
        "originality",
        "Copyright 2020. All rights reserved. Redistribution permitted without warranty of any kind, see the terms and conditions of use that came with the package you received from the vendor.",
      ],
      ["substance", "It is on the page."],
      [
        "prose",
        "[![Build](https://ci.example.org/a/b.svg)](https://ci.example.org/a/b) [![Cover](https://c.example.org/d.svg)](https://c.example.org/d)",
      ],
      [
        "prose",
        "bgBlack bgRed bgGreen bgYellow bgBlue bgMagenta bgCyan bgWhite blackBright redBright greenBright yellowBright",
      ],
      [
        "letters",
        "1.20 3.40 5.60 | 7.80 9.10 | 11.2 (13.4) [15.6] 17.8% alpha 2 3 4 beta 5 6 7 gamma 8 9 10 of the delta 11 12 13 epsilon 14 15 zeta",
      ],
      ["variety", Array.from({ length: 40 }, () => "the fast pump of the plant").join(" ")],
    ] as const;
    for (const [sign, text] of low) {
      const signs = qualitySigns(text);
      assert.ok(passageQuality(text) < 0.4, `${passageQuality(text)}: ${text.slice(0, 60)}`);
      assert.equal(signs[sign], passageQuality(text), `${sign} of ${JSON.stringify(signs)}`);
    }
    assert.ok(passageQuality(licence) < passageQuality(prose));
  });

  it("is between 0 and 1, and the same each time, for any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
        const quality = passageQuality(text);
        assert.ok(quality >= 0 && quality <= 1);
        assert.equal(passageQuality(text), quality);
      }),
    );
  });

  it("takes no longer for a text that was made to slow it down", () => {
    const started = performance.now();
    for (const text of [
      "<".repeat(100_000),
      "](".repeat(50_000),
      "a".repeat(100_000),
      "copyright ".repeat(10_000),
    ]) {
      passageQuality(text);
    }
    // Milliseconds are expected; backtracking would take minutes.
    assert.ok(performance.now() - started < 5_000);
  });
});
