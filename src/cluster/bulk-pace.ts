/**
 * How fast a bulk writer may go: requests in flight, bytes per request, and pauses.
 * Everything halves at the first sign of trouble and grows back slowly, so the writer
 * finds what the cluster takes without being told.
 */

/** Limits of the configuration, which the pace never exceeds. */
export interface PaceLimits {
  readonly max_bytes: number;
  readonly concurrency: number;
  /** First pause after trouble, milliseconds; it doubles from there. */
  readonly first_pause_ms?: number;
}

/** Smallest request size the pace shrinks to; a larger operation still goes alone. */
const MIN_BYTES = 16_384;

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 30_000;

/** Untroubled requests in a row before one more may be in flight. */
const CALM_REQUESTS = 8;

/** The pace of one writer. Times are milliseconds of one monotonic clock. */
export class BulkPace {
  #bytes: number;
  /** Bytes known to be too many for the cluster's request limit bound this. */
  #mostBytes: number;
  #concurrency: number;
  #pausedUntil = 0;
  #strikes = 0;
  #calm = 0;

  constructor(
    private readonly limits: PaceLimits,
    private readonly random: () => number = Math.random,
  ) {
    this.#bytes = limits.max_bytes;
    this.#mostBytes = limits.max_bytes;
    this.#concurrency = limits.concurrency;
  }

  /** Most bytes of the next request. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Most requests in flight. */
  get concurrency(): number {
    return this.#concurrency;
  }

  /** When the next request may start. */
  get pausedUntil(): number {
    return this.#pausedUntil;
  }

  /** A request of `bytes` bytes went through without any trouble. */
  succeeded(bytes: number): void {
    this.#strikes = 0;
    this.#calm += 1;
    if (bytes > this.#bytes / 2) {
      this.#bytes = Math.min(this.#mostBytes, Math.ceil(this.#bytes * 1.1));
    }
    if (this.#calm >= CALM_REQUESTS && this.#concurrency < this.limits.concurrency) {
      this.#calm = 0;
      this.#concurrency += 1;
    }
  }

  /** The cluster is overloaded: fewer requests, after a pause. @returns the pause. */
  busy(now: number, retryAfterSeconds?: number): number {
    this.#concurrency = Math.max(1, Math.floor(this.#concurrency / 2));
    return this.pause(now, retryAfterSeconds);
  }

  /** A request, or its answer, got lost: try again after a pause. @returns the pause. */
  pause(now: number, retryAfterSeconds = 0): number {
    this.#calm = 0;
    // Several requests in flight fail together; together they are one strike.
    if (now >= this.#pausedUntil) this.#strikes += 1;
    const first = this.limits.first_pause_ms ?? FIRST_PAUSE_MS;
    const longest = Math.min(LONGEST_PAUSE_MS, first * 2 ** (this.#strikes - 1));
    // Jitter, or all writers that failed together would come back together.
    const pause = Math.max(retryAfterSeconds * 1000, longest * (0.5 + this.random() / 2));
    this.#pausedUntil = Math.max(this.#pausedUntil, now + pause);
    return this.#pausedUntil - now;
  }

  /** A request of `bytes` bytes was too large. `hard`: it always will be, so never grow back to it. */
  tooLarge(bytes: number, hard: boolean): void {
    this.#calm = 0;
    this.#bytes = Math.max(MIN_BYTES, Math.min(this.#bytes, Math.floor(bytes / 2)));
    if (hard) this.#mostBytes = Math.min(this.#mostBytes, this.#bytes);
  }
}
