/** A connection to a server that computes for us: deadlines, patience, and what its refusals mean. */
import { setTimeout as sleep } from "node:timers/promises";
import pRetry from "p-retry";
import { Pool } from "undici";
import { z } from "zod";
import { messageOf } from "../errors/csplade-error.js";

/** The server refuses these texts, and would again. */
export class RefusedTexts extends Error {}

/** It cannot answer now; the same request may be answered later. */
export class Passing extends Error {}

/** Where a server is, and how long it is waited for. */
export interface RemoteClientOptions {
  readonly address: string;
  /** Sent as `Authorization: Bearer`. */
  readonly key?: string | undefined;
  /** Deadline of one request, milliseconds. */
  readonly timeoutMs: number;
  /** How long one that is away or busy is asked again, milliseconds. */
  readonly patienceMs: number;
}

/** The connection. */
export interface RemoteClient {
  /** Address without a slash at its end. */
  readonly url: string;
  /** One request, sent once. @throws Passing if there is no answer. */
  get(
    path: string,
    signal: AbortSignal,
  ): Promise<{ readonly status: number; readonly json: unknown }>;
  /** Does `work` again while it fails with {@link Passing}. @throws the signal's reason; what `work` throws. */
  patiently<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Asks until it is answered. @throws RefusedTexts; Error; the signal's reason. */
  ask<T>(path: string, body: object, schema: z.ZodType<T>, signal: AbortSignal): Promise<T>;
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

/** Connects lazily. */
export function connectRemote({
  address,
  key,
  timeoutMs,
  patienceMs,
}: RemoteClientOptions): RemoteClient {
  const target = new URL(address);
  const base = target.pathname.replace(/\/$/, "");
  const url = target.origin + base;
  const pool = new Pool(target.origin, {
    connections: CONNECTIONS,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    maxResponseSize: MOST_BYTES,
    connect: { timeout: 10_000 },
  });
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

  async function patiently<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>) {
    try {
      const found = await pRetry(() => work(signal), {
        retries: Number.MAX_SAFE_INTEGER,
        minTimeout: 250,
        maxTimeout: 5_000,
        randomize: true,
        maxRetryTime: patienceMs,
        signal,
        shouldRetry: ({ error }) => error instanceof Passing && !signal.aborted,
        onFailedAttempt: ({ error }) => {
          if (error instanceof Passing && !signal.aborted) trouble = error.message;
        },
      });
      trouble = undefined;
      return found;
    } catch (thrown) {
      throw signal.aborted ? (signal.reason as Error) : thrown;
    }
  }

  return {
    url,
    async get(path, signal) {
      const { status, text } = await send("GET", path, null, signal);
      return { status, json: parsed(text) };
    },
    patiently,
    async ask(path, body, schema, signal) {
      const json = JSON.stringify(body);
      return await patiently(signal, async () => {
        const { status, text, pauseMs } = await send("POST", path, json, signal);
        if (status === 200) {
          const answer = schema.safeParse(parsed(text));
          if (answer.success) return answer.data;
          throw new Error(`its answer cannot be read: ${z.prettifyError(answer.error)}`);
        }
        const said = `${status} ${text.slice(0, 500)}`;
        if (OF_TEXTS.has(status)) throw new RefusedTexts(`${url} refuses it: ${said}`);
        if (!PASSING.has(status)) throw new Error(said);
        await sleep(pauseMs, undefined, { signal });
        throw new Passing(`${url} says ${said}`);
      });
    },
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
