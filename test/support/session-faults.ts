/**
 * Loaded before anything else (`node --import`) in the threads of an encoder: real sessions, whose
 * `run` fails as a broken device does. What fails is told by files in a folder, so that a test can
 * break and mend a device while it works:
 *
 *   throw      run throws "CUDA failure 700", as long as the file is there
 *   throw-from run throws from the n-th batch of a session on (the file holds n)
 *   die-from   the same, and no session works any more after it
 *   hang       run never returns; the file is removed by whoever hangs
 *   hold       run waits as long as the file is there
 *   kill       the thread ends in the middle of run; the file is removed
 *   text       run throws as above where a token is in the batch (the file holds its id), and so does
 *              every later run of the session
 *   text-ends  the same, and no session of the device works any more after it
 *   memory     run finds no memory for batches of more than n tokens (the file holds n)
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { isMainThread, threadId } from "node:worker_threads";
import { InferenceSession, type Tensor } from "onnxruntime-node";

const folder = process.env.CSPLADE_TEST_FAULTS;

if (!isMainThread && folder !== undefined) {
  const create = InferenceSession.create.bind(InferenceSession) as (
    ...given: unknown[]
  ) => Promise<InferenceSession>;
  const faulty = async (...given: unknown[]): Promise<InferenceSession> => {
    const session = await create(...given);
    let batches = 0;
    let isBroken = false;
    return new Proxy(session, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        const method = value.bind(target) as (...args: unknown[]) => unknown;
        if (name !== "run") return method;
        return async (...args: unknown[]) => {
          batches += 1;
          isBroken ||= breaksOn(folder, (args[0] as { input_ids: Tensor }).input_ids);
          if (isBroken) throw new Error("CUDA failure 700: this text broke the session");
          misbehave(folder, batches, (args[0] as { input_ids: Tensor }).input_ids.size);
          return await method(...args);
        };
      },
    });
  };
  Object.defineProperty(InferenceSession, "create", { value: faulty });
}

/** True if the token of the file `text` or `text-ends` is in a batch. */
function breaksOn(folder: string, ids: Tensor): boolean {
  return ["text", "text-ends"].some((fault) => {
    const file = path.join(folder, fault);
    if (!existsSync(file)) return false;
    const breaks = (ids.data as BigInt64Array).includes(BigInt(readFileSync(file, "utf8")));
    if (breaks && fault === "text-ends") writeFileSync(path.join(folder, "throw"), "");
    return breaks;
  });
}

function misbehave(folder: string, batch: number, tokens: number): void {
  const file = (name: string) => path.join(folder, name);
  const number = (name: string) =>
    existsSync(file(name)) ? Number(readFileSync(file(name), "utf8")) : Infinity;
  if (batch >= number("die-from")) writeFileSync(file("throw"), "");
  if (existsSync(file("throw")) || batch >= number("throw-from")) {
    throw new Error("CUDA failure 700: an illegal memory access was encountered");
  }
  if (tokens > number("memory")) {
    throw new Error(`Failed to allocate memory for requested buffer of size ${tokens * 1_000}`);
  }
  while (existsSync(file("hold"))) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  if (take(file("kill"))) process.exit(1);
  if (take(file("hang"))) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

/** True for the one thread that removes the file. */
function take(name: string): boolean {
  if (!existsSync(name)) return false;
  try {
    rmSync(name);
    return threadId > 0;
  } catch {
    return false;
  }
}
