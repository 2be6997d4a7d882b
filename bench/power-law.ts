/** Fitting `y = factor · x^exponent`, by least squares over the logarithms. */

/** A fitted curve. */
export interface PowerLaw {
  readonly factor: number;
  /** 0: cost does not grow; 1: it grows as fast as what it is measured against. */
  readonly exponent: number;
  /** Share of the variance of log y that the curve explains, 0…1. */
  readonly r2: number;
}

/**
 * Fits points whose x and y are above 0.
 * @throws RangeError for fewer than two different x, or values that have no logarithm.
 */
export function fitPowerLaw(points: readonly (readonly [x: number, y: number])[]): PowerLaw {
  if (points.some(([x, y]) => !(x > 0 && y > 0))) {
    throw new RangeError("A power law is fitted to points above 0.");
  }
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)] as const);
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanX = mean(logs.map(([x]) => x));
  const meanY = mean(logs.map(([, y]) => y));
  const sum = (term: (x: number, y: number) => number) =>
    logs.reduce((total, [x, y]) => total + term(x - meanX, y - meanY), 0);
  const spread = sum((x) => x * x);
  if (!(spread > 0)) throw new RangeError("A power law needs two different x at least.");
  const exponent = sum((x, y) => x * y) / spread;
  const variance = sum((_, y) => y * y);
  const unexplained = sum((x, y) => (y - exponent * x) ** 2);
  return {
    factor: Math.exp(meanY - exponent * meanX),
    exponent,
    r2: variance === 0 ? 1 : 1 - unexplained / variance,
  };
}
