/**
 * The life of a run of an ingest, in Redis: a key that its command renews. Workers look at it before a
 * job, and before and while they write; what belongs to a run without a life is not written. A run
 * that somebody took for dead stays dead, also if its command wakes up again.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { withDeadline } from "../waiting/deadline.js";
import { isGone, thisProcess } from "./process-owner.js";
import { prefixOf } from "./queue-options.js";
import type { RedisClient } from "./redis-connection.js";

/** How long a run lives after its command was last heard of, milliseconds. */
const LIFETIME_MS = 30_000;

/** How often the command renews it, milliseconds. */
const RENEW_MS = 3_000;

/** Silence after which somebody who begins waits for the command to speak, or for its end, milliseconds. */
const SILENT_MS = 12_000;

/** Value of the key of a run that was taken for dead, and how long it is kept, milliseconds. */
const ENDED = "ended";
const ENDED_MS = 86_400_000;

/** Renews a life, or begins it; not one that was ended. Expiring alone needs no memory. */
const RENEW = `
local value = redis.call("GET", KEYS[1])
if value == "${ENDED}" then return 0 end
if value then redis.call("PEXPIRE", KEYS[1], ARGV[2])
else redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2]) end
return 1`;

/** A run that lives for as long as this is held. */
export interface RunLease {
  /** Aborted once the run was taken for dead: its command must end. */
  readonly over: AbortSignal;
  /** Ends the run: what is still worked on for it is not written. */
  end(): Promise<void>;
}

/** The lives of the runs of a prefix. */
export interface RunLives {
  /** Begins a run. */
  hold(run: string): Promise<RunLease>;
  /** Whether no other run lives. */
  isAlone(run: string): Promise<boolean>;
  /** Whether what belongs to a run may be written. */
  isLive(run: string): Promise<boolean>;
  /**
   * Ends the runs whose commands are gone; returns when each other one was heard of.
   * @param onWait told which silent run is waited for.
   */
  endDead(signal: AbortSignal, onWait: (message: string) => void): Promise<void>;
}

/** The lives that a connection leads to. */
export function runLives(config: Config, redis: RedisClient): RunLives {
  const prefix = prefixOf(config);
  const runs = `${prefix}:runs`;
  const keyOf = (run: string) => `${prefix}:run:${run}`;

  async function bury(run: string): Promise<void> {
    await redis.set(keyOf(run), ENDED, "PX", ENDED_MS);
    await redis.srem(runs, run);
  }

  async function isLive(run: string): Promise<boolean> {
    const value = await redis.get(keyOf(run));
    return value !== null && value !== ENDED;
  }

  return {
    async hold(run) {
      const over = new AbortController();
      let renewedAt = 0;
      const renew = async (): Promise<void> => {
        const asked = Date.now();
        const renewed = await redis.eval(RENEW, 1, keyOf(run), thisProcess, LIFETIME_MS);
        // A machine that slept for days may find that nobody remembers its end.
        const forgotten = renewedAt > 0 && asked - renewedAt > ENDED_MS / 2;
        if (renewed === 1 && !forgotten) renewedAt = asked;
        else over.abort(takenForDead(run));
      };
      await redis.sadd(runs, run);
      await renew();
      let renewing = false;
      const timer = setInterval(() => {
        if (renewing || over.signal.aborted) return;
        renewing = true;
        renew()
          // Redis is away, or refuses: the run's next operation says so.
          .catch(() => {})
          .finally(() => (renewing = false));
      }, RENEW_MS);
      return {
        over: over.signal,
        async end() {
          clearInterval(timer);
          // Where Redis is away, its lifetime ends it.
          await withDeadline(bury(run), 2_000, "Ending the run").catch(() => {});
        },
      };
    },
    async isAlone(run) {
      const others = (await redis.smembers(runs)).filter((other) => other !== run);
      return !(await Promise.all(others.map(isLive))).includes(true);
    },
    isLive,
    async endDead(signal, onWait) {
      for (const run of await redis.smembers(runs)) {
        for (let said = false; ;) {
          signal.throwIfAborted();
          const [owner, left] = [await redis.get(keyOf(run)), await redis.pttl(keyOf(run))];
          if (owner === null || owner === ENDED || isGone(owner)) {
            await bury(run);
            break;
          }
          const silence = LIFETIME_MS - left;
          if (silence < SILENT_MS) break;
          if (!said) {
            onWait(
              `Waiting for the run ${run}, silent for ${Math.round(silence / 1_000)} s, to be heard of or to end.`,
            );
          }
          said = true;
          await sleep(500, undefined, { signal }).catch(() => {});
        }
      }
    },
  };
}

function takenForDead(run: string): CspladeError {
  return new CspladeError(
    "job_failed",
    `The run ${run} was silent for so long that a later one took it for dead.`,
    {
      hint: "Run the command again if its documents are still the newest: what was written is skipped.",
    },
  );
}
