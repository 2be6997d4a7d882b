/** The server that encodes: what kind it is, and that nothing is encoded any more once it stays away. */
import { z } from "zod";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { Manifest } from "./manifest.js";
import { connectRemote, Passing, RefusedTexts } from "./remote-client.js";

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

const readySchema = z.object({ model: z.object({ name: z.string(), fingerprint: z.string() }) });
const infoSchema = z.object({ model_id: z.string() });

/** Connects lazily. */
export function connectServer(config: Config, address: string): RemoteServer {
  const client = connectRemote({
    address,
    key: config["model.remote_key"],
    timeoutMs: config["model.run_timeout_ms"],
    patienceMs: config["write.max_wait_ms"],
  });
  const { url } = client;
  const broken = new AbortController();
  let manifestHere: Manifest | undefined;

  /** What fails for good breaks the encoder. */
  async function breaking<T>(
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (broken.signal.aborted) throw broken.signal.reason as Error;
    const all = signal === undefined ? broken.signal : AbortSignal.any([signal, broken.signal]);
    try {
      return await work(all);
    } catch (thrown) {
      if (all.aborted || thrown instanceof RefusedTexts) throw thrown;
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

  async function askKind(manifest: Manifest, signal: AbortSignal) {
    const ready = await client.get("/ready", signal);
    const served = readySchema.safeParse(ready.json);
    if (served.success) {
      if (served.data.model.fingerprint !== manifest.fingerprint) throw mismatch(served.data.model);
      if (ready.status === 200) return "csplade" as const;
    } else if (ready.status === 404) {
      const info = await client.get("/info", signal);
      if (info.status === 200 && infoSchema.safeParse(info.json).success) return "tei" as const;
    }
    throw new Passing(`${url} is not ready (${ready.status}).`);
  }

  return {
    identify(manifest) {
      manifestHere = manifest;
      return breaking(undefined, (signal) =>
        client.patiently(signal, (all) => askKind(manifest, all)),
      );
    },
    ask: (path, body, schema, signal) =>
      breaking(signal, (all) => client.ask(path, body, schema, all)),
    breakWith,
    mismatch,
    broken: broken.signal,
    get trouble() {
      return client.trouble;
    },
    close: () => client.close(),
  };
}
