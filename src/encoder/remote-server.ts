/** The connection to a server that encodes: deadlines, patience, and what its refusals mean. */
import { setTimeout as sleep } from "node:timers/promises";
import pRetry from "p-retry";
import { Pool } from "undici";
import { z } from "zod";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { Manifest } from "./manifest.js";

/** The server refuses these texts, and would again. */
export class RefusedTexts extends Error {}

/** It cannot answer now; the same request may be answered later. */
class Passing extends Error {}

/** A server that encodes. */
export interface RemoteServer {
  /** What kind it is. @throws CspladeError `model_mismatch`, `device_failed`. */
  identify(manifest: Manifest): Promise<"csplade" | "tei">;
  /**
   * Asks until it is answered, in the time of `write.max_wait_ms`.
   * @throws RefusedTexts; CspladeError `device_failed`, after which it is broken; the signal's reason.
   */
  ask<T>(path: string, body: object, schema: z.ZodType<T>, signal?: AbortSignal): Promise<T>;
  /** Ends everything with an error, which it returns. */
  breakWith(cause: Error): CspladeError;
  mismatch(served: { readonly fingerprint: string }): CspladeError;
  readonly broken: AbortSignal;
  /** Why it is waited for now. */
  readonly trouble: string | undefined;
  close(): Promise<void>;
}

/** Requests in flight; others wait. */
const CONNECTIONS = 4;

/** Longest answer, bytes. */
const MOST_BYTES = 268_435_456;

/** Longest pause that a server may ask for, milliseconds. */
const MOST_PAUSE_MS = 30_000;

/** A server that is away, starting or busy; 424 is what text-embeddings-inference says of its backend. */
const PASSING: ReadonlySet<number> = new Set([408, 424, 425, 429, 500, 502, 503, 504]);

/** Too large, too long, not tokenizable. */
const OF_TEXTS: ReadonlySet<number> = new Set([400, 413, 422]);

const readySchema = z.object({ model: z.object({ name: z.string(), fingerprint: z.string() }) });
const infoSchema = z.object({ model_id: z.string() });

/** Connects lazily. */
export function connectServer(config: Config, address: string): RemoteServer {
  const target = new URL(address);
  const base = target.pathname.replace(/\/$/, "");
  const url = target.origin + base;
  const timeout = config["model.run_timeout_ms"];
  const key = config["model.remote_key"];
  const pool = new Pool(target.origin, {
    connections: CONNECTIONS,
    headersTimeout: timeout,
    bodyTimeout: timeout,
    maxResponseSize: MOST_BYTES,
    connect: { timeout: 10_000 },
  });
  const broken = new AbortController();
  let manifestHere: Manifest | undefined;
  let trouble: string | undefined;

  async function send(
    method: "GET" | "POST",
    path: string,
    body: string | null,
    signal: AbortSignal,
  ) {
    try {
      const answer = await pool.request({
        method,
        path: base + path,
        body,
        signal,
        headers: {
          accept: "application/json",
          ...(body === null ? {} : { "content-type": "application/json" }),
          ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
        },
      });
      const text = await answer.body.text();
      const after = Number(answer.headers["retry-after"] ?? 0);
      return { status: answer.statusCode, text, pauseMs: Math.min(after * 1_000, MOST_PAUSE_MS) };
    } catch (cause) {
      throw new Passing(`${url} does not answer: ${messageOf(cause)}`, { cause });
    }
  }

  async function patiently<T>(
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ) {
    const all = signal === undefined ? broken.signal : AbortSignal.any([signal, broken.signal]);
    try {
      const found = await pRetry(() => work(all), {
        retries: Number.MAX_SAFE_INTEGER,
        minTimeout: 250,
        maxTimeout: 5_000,
        randomize: true,
        maxRetryTime: config["write.max_wait_ms"],
        signal: all,
        shouldRetry: ({ error }) => error instanceof Passing && !all.aborted,
        onFailedAttempt: ({ error }) => {
          if (error instanceof Passing && !all.aborted) trouble = error.message;
        },
      });
      trouble = undefined;
      return found;
    } catch (thrown) {
      if (all.aborted) throw all.reason as Error;
      if (thrown instanceof RefusedTexts) throw thrown;
      throw breakWith(thrown);
    }
  }

  function breakWith(cause: unknown): CspladeError {
    const known = cause instanceof CspladeError;
    const error = known
      ? cause
      : new CspladeError("device_failed", `The encoder at ${url} failed: ${messageOf(cause)}`, {
          cause,
          hint: "Look at that server, and start again: no document was blamed.",
        });
    if (!broken.signal.aborted) broken.abort(error);
    return error;
  }

  const mismatch = ({ fingerprint }: { readonly fingerprint: string }) =>
    new CspladeError(
      "model_mismatch",
      `${url} encodes with the model ${fingerprint}; the checkpoint here is ${manifestHere?.fingerprint ?? "another"}.`,
      {
        hint: "Name a server of the same checkpoint with model.remote, or its checkpoint with model.path.",
      },
    );

  return {
    async identify(manifest) {
      manifestHere = manifest;
      return await patiently(undefined, async (signal) => {
        const ready = await send("GET", "/ready", null, signal);
        const served = readySchema.safeParse(parsed(ready.text));
        if (served.success) {
          if (served.data.model.fingerprint !== manifest.fingerprint) {
            throw mismatch(served.data.model);
          }
          if (ready.status === 200) return "csplade" as const;
        } else if (ready.status === 404) {
          const info = await send("GET", "/info", null, signal);
          if (info.status === 200 && infoSchema.safeParse(parsed(info.text)).success) return "tei";
        }
        throw new Passing(`${url} is not ready (${ready.status}).`);
      });
    },
    async ask(path, body, schema, signal) {
      if (broken.signal.aborted) throw broken.signal.reason as Error;
      const json = JSON.stringify(body);
      return await patiently(signal, async (all) => {
        const { status, text, pauseMs } = await send("POST", path, json, all);
        if (status === 200) {
          const answer = schema.safeParse(parsed(text));
          if (answer.success) return answer.data;
          throw new Error(`its answer cannot be read: ${z.prettifyError(answer.error)}`);
        }
        const said = `${status} ${text.slice(0, 500)}`;
        if (OF_TEXTS.has(status)) throw new RefusedTexts(`${url} refuses it: ${said}`);
        if (!PASSING.has(status)) throw new Error(said);
        await sleep(pauseMs, undefined, { signal: all });
        throw new Passing(`${url} says ${said}`);
      });
    },
    breakWith,
    mismatch,
    broken: broken.signal,
    get trouble() {
      return trouble;
    },
    close: () => pool.destroy(),
  };
}

/** JSON, or undefined. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
