/** The programs that check k8s/: built once by scripts/kubernetes-tools.mjs, then from its cache. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import type { Context } from "mocha";
import { z } from "zod";
import { packageRoot } from "../../src/config/package-root.js";

/** A tool of scripts/kubernetes-tools.mjs. */
export type KubernetesTool =
  "helm" | "schemas" | "crds" | "kwok-stages" | "promtool" | "control-plane";

/** Minutes to build: only where they are there already, or CSPLADE_TEST_KUBERNETES asks for them. */
const expensive: ReadonlySet<KubernetesTool> = new Set(["promtool", "control-plane"]);

/**
 * The folder of a tool's programs. Where it cannot be had, the suite is skipped and says why.
 * @param context of the hook that asks; its timeout is lifted for a first build
 */
export function demandTool(context: Context, name: KubernetesTool): string {
  context.timeout(1_800_000);
  const cached = expensive.has(name) && process.env.CSPLADE_TEST_KUBERNETES === undefined;
  const end = spawnSync(
    process.execPath,
    ["scripts/kubernetes-tools.mjs", ...(cached ? ["--cached"] : []), name],
    { cwd: packageRoot, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 64 << 20 },
  );
  if (end.status === 3) {
    process.stderr.write(`SKIPPED, nothing was checked: ${end.stderr.trim()}\n`);
    context.skip();
  }
  if (end.status !== 0) throw new Error(`Getting ${name} failed:\n${end.stderr}`);
  return z.record(z.string(), z.string()).parse(JSON.parse(end.stdout))[name] ?? "";
}

/** What a program printed and how it ended. */
export interface ToolEnd {
  readonly status: number | null;
  readonly output: string;
}

/** Runs a program of a tool; `input` is its standard input. */
export function runTool(
  program: string,
  args: readonly string[],
  { input = "", cwd = packageRoot, env = {} }: RunToolOptions = {},
): ToolEnd {
  const end = spawnSync(program, args, {
    cwd,
    input,
    encoding: "utf8",
    env: { ...process.env, ...env },
    timeout: 500_000,
    maxBuffer: 64 << 20,
  });
  if (end.error !== undefined) throw end.error;
  return { status: end.status, output: end.stdout + end.stderr };
}

interface RunToolOptions {
  readonly input?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Renders the chart with some values set, as `helm template` prints it. */
export function renderChart(
  helm: string,
  values: readonly string[] = [],
  more: readonly string[] = [],
  release = "csplade",
): ToolEnd {
  return runTool(path.join(helm, "helm"), [
    "template",
    release,
    "k8s/helm/csplade",
    "--namespace=csplade",
    "--kube-version=1.36.0",
    ...values.flatMap((each) => ["--set", each]),
    ...more,
  ]);
}
