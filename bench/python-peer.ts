/** A Python peer of the encoder benchmark: a process that encodes what it is sent, line by line. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { z } from "zod";
import { packageRoot } from "../src/config/package-root.js";

const program = path.join(packageRoot, "bench", "encoder_peers.py");
const requirements = path.join(packageRoot, "bench", "requirements.txt");

/** How long a peer may take to load, and to answer. */
const DEADLINE_MS = 600_000;

const greetingSchema = z.union([
  z.object({
    name: z.string(),
    versions: z.record(z.string(), z.string()),
    sizes: z.array(z.number()),
  }),
  z.object({ error: z.string() }),
]);

const answerSchema = z.object({
  seconds: z.number(),
  cpu_seconds: z.number(),
  tokens: z.number(),
  padded_tokens: z.number(),
  vectors: z.array(z.record(z.string(), z.number())),
});

/** What a peer is asked to encode. */
export interface PeerRequest {
  readonly texts: readonly string[];
  /** Token ids of the texts. */
  readonly rows: readonly (readonly number[])[];
  /** Batch size, in the peer's own unit. */
  readonly size: number;
  /** Whether to send the vectors back. */
  readonly vectors?: boolean;
}

/** Time and padding of one request, and its vectors where asked for. */
export type PeerAnswer = z.infer<typeof answerSchema>;

/** A peer that runs. */
export interface PythonPeer {
  readonly name: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Batch sizes worth trying. */
  readonly sizes: readonly number[];
  encode(request: PeerRequest): Promise<PeerAnswer>;
  close(): void;
}

/** Starts a peer. @throws Error that says why it cannot run. */
export async function startPythonPeer(
  python: string,
  kind: "onnxruntime" | "torch-fp32" | "torch-bf16",
  options: { readonly model: string; readonly threads: number },
): Promise<PythonPeer> {
  const args = [program, kind, "--model", options.model, "--threads", String(options.threads)];
  const child = spawn(python, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: {
      ...process.env,
      OMP_NUM_THREADS: String(options.threads),
      // A peer that waits for its turn must not keep a core busy.
      OMP_WAIT_POLICY: "PASSIVE",
      KMP_BLOCKTIME: "0",
      PYTHONDONTWRITEBYTECODE: "1",
      ORT_DISABLE_TELEMETRY: "1",
    },
  });
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    complaints = (complaints + chunk).slice(-2_000);
  });
  const lines = readline.createInterface({ input: child.stdout });
  const next = async () => nextLine(child, lines, () => complaints);
  const greeting = greetingSchema.parse(JSON.parse(await next()));
  if ("error" in greeting) {
    child.kill();
    throw new Error(greeting.error);
  }
  return {
    ...greeting,
    async encode(request) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      return answerSchema.parse(JSON.parse(await next()));
    },
    close: () => child.stdin.end(),
  };
}

async function nextLine(
  child: ChildProcess,
  lines: readline.Interface,
  complaints: () => string,
): Promise<string> {
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, AbortSignal.timeout(DEADLINE_MS)]);
  try {
    const [line] = (await Promise.race([
      once(lines, "line", { signal }),
      once(child, "close", { signal }).then(([status]) => {
        throw new Error(
          `Python ended with status ${String(status)}: ${complaints().trim().split("\n").at(-1) ?? ""}`,
        );
      }),
    ])) as [string];
    return line;
  } finally {
    over.abort();
  }
}

/**
 * Makes a Python environment with what the peers need, once, in the user's cache.
 * @returns its interpreter
 */
export function makePython(say: (message: string) => void): string {
  const sum = createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 12);
  const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache");
  const folder = path.join(cache, "csplade", `bench-${sum}`);
  const python = path.join(folder, "bin", "python");
  const stamp = path.join(folder, ".complete");
  if (existsSync(stamp)) return python;
  say(`making a Python environment in ${folder} (PyTorch: more than 2 GB)`);
  mkdirSync(path.dirname(folder), { recursive: true });
  const steps: [string, string[]][] = [
    ["python3", ["-m", "venv", "--clear", folder]],
    [
      python,
      ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements],
    ],
  ];
  for (const [command, args] of steps) {
    const end = spawnSync(command, args, { stdio: ["ignore", 2, 2], timeout: 1_800_000 });
    if (end.status !== 0) throw new Error(`${command} ${args.join(" ")} failed; see above.`);
  }
  writeFileSync(stamp, "");
  return python;
}
