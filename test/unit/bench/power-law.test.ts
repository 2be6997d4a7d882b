/** The growth curves that are printed are the curves that the points lie on. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { fitPowerLaw } from "../../../bench/power-law.js";

describe("fitting a power law", () => {
  it("finds the factor and the exponent of points that lie on one", () => {
    const xs = fc.uniqueArray(fc.integer({ min: 1, max: 1_000_000 }), { minLength: 2 });
    const factors = fc.double({ min: 0.01, max: 100, noNaN: true });
    const exponents = fc.double({ min: -2, max: 2, noNaN: true });
    fc.assert(
      fc.property(xs, factors, exponents, (seen, factor, exponent) => {
        const fit = fitPowerLaw(seen.map((x) => [x, factor * x ** exponent] as const));
        assert.ok(Math.abs(fit.exponent - exponent) < 1e-3);
        const [x = 1] = seen;
        const there = fit.factor * x ** fit.exponent;
        assert.ok(Math.abs(there / (factor * x ** exponent) - 1) < 1e-3);
      }),
    );
  });

  it("says how much of the spread the curve explains", () => {
    const onCurve = fitPowerLaw([
      [1, 1],
      [10, 10],
      [100, 100],
    ]);
    const scattered = fitPowerLaw([
      [1, 1],
      [10, 100],
      [100, 1],
    ]);
    assert.ok(onCurve.r2 > 0.999);
    assert.ok(scattered.r2 < 0.1);
  });

  it("refuses points that have no logarithm, and too few of them", () => {
    assert.throws(
      () =>
        fitPowerLaw([
          [0, 1],
          [1, 1],
        ]),
      RangeError,
    );
    assert.throws(
      () =>
        fitPowerLaw([
          [1, 0],
          [2, 1],
        ]),
      RangeError,
    );
    assert.throws(
      () =>
        fitPowerLaw([
          [3, 1],
          [3, 2],
        ]),
      RangeError,
    );
  });
});
