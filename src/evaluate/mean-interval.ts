/** How far a mean over queries may be off for other queries of the same kind. */
import { randomBits } from "./random-bits.js";

/** A mean and the interval that holds 95 % of its bootstrap samples. */
export interface MeanInterval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** Bootstrap samples drawn. */
const SAMPLES = 2_000;

/**
 * Mean with its 95 % interval by the percentile bootstrap (Efron 1979; Sakai 2006 for retrieval):
 * queries are drawn with replacement, again and again, always the same for the same values.
 */
export function meanInterval(values: readonly number[]): MeanInterval {
  if (values.length === 0) return { mean: 0, low: 0, high: 0 };
  const next = randomBits(1);
  const means = Array.from({ length: SAMPLES }, () => {
    let sum = 0;
    for (let i = 0; i < values.length; i++) {
      sum += values[Math.floor(((next() >>> 0) / 2 ** 32) * values.length)] ?? 0;
    }
    return sum / values.length;
  }).sort((a, b) => a - b);
  return {
    mean: values.reduce((sum, value) => sum + value, 0) / values.length,
    low: means[Math.floor(0.025 * SAMPLES)] ?? 0,
    high: means[Math.floor(0.975 * SAMPLES)] ?? 0,
  };
}
