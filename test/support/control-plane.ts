/**
 * A real Kubernetes control plane on loopback, without containers: etcd, API server, controllers,
 * scheduler, and kwok, which plays nodes and kubelets. Pods on its nodes run nothing.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { openSync, readdirSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findFreePort } from "../../src/servers/port.js";
import { runTool, type ToolEnd } from "./kubernetes-tools.js";
import { endWithProcess } from "./process-end.js";

/** A running control plane. */
export interface ControlPlane {
  /** Runs kubectl as cluster administrator. */
  kubectl(args: readonly string[], input?: string): ToolEnd;
  /** Runs kubectl and expects it to succeed. */
  demand(args: readonly string[], input?: string): string;
  /** Adds a node that kwok plays; `gpus` of nvidia.com/gpu. */
  addNode(name: string, zone: string, gpus: number): void;
  stop(): Promise<void>;
}

const START_MS = 90_000;

/**
 * Starts everything and waits until the API answers.
 * @param tools folder of the programs
 * @param stages folder of kwok's stages: what nodes and pods that it plays do
 */
export async function startControlPlane(tools: string, stages: string): Promise<ControlPlane> {
  const folder = await mkdtemp(path.join(os.tmpdir(), "csplade-control-plane-"));
  const children: ChildProcess[] = [];
  const start = (program: string, args: readonly string[]): void => {
    const log = openSync(path.join(folder, `${program}.log`), "w");
    const stdio = ["ignore", log, log] as const;
    const child = spawn(path.join(tools, program), args, { cwd: folder, stdio: [...stdio] });
    endWithProcess(child);
    children.push(child);
  };
  const stop = async (): Promise<void> => {
    for (const child of children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const [etcd, peer, api] = [await findFreePort(), await findFreePort(), await findFreePort()];
    const kubeconfig = path.join(folder, "kubeconfig");
    await writeCredentials(folder, kubeconfig, api);
    start("etcd", [
      `--data-dir=${path.join(folder, "etcd")}`,
      `--listen-client-urls=http://127.0.0.1:${etcd}`,
      `--advertise-client-urls=http://127.0.0.1:${etcd}`,
      `--listen-peer-urls=http://127.0.0.1:${peer}`,
      "--unsafe-no-fsync",
    ]);
    start("kube-apiserver", [
      `--etcd-servers=http://127.0.0.1:${etcd}`,
      "--bind-address=127.0.0.1",
      `--secure-port=${api}`,
      `--cert-dir=${path.join(folder, "certificates")}`,
      `--token-auth-file=${path.join(folder, "tokens.csv")}`,
      "--authorization-mode=RBAC",
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${path.join(folder, "accounts.key")}`,
      `--service-account-signing-key-file=${path.join(folder, "accounts.key")}`,
      "--service-cluster-ip-range=10.96.0.0/16",
    ]);
    const kubectl = (args: readonly string[], input?: string): ToolEnd =>
      runTool(path.join(tools, "kubectl"), args, {
        ...(input === undefined ? {} : { input }),
        cwd: folder,
        env: { KUBECONFIG: kubeconfig, HOME: folder },
      });
    const demand = (args: readonly string[], input?: string): string => {
      const { status, output } = kubectl(args, input);
      if (status !== 0) throw new Error(`kubectl ${args.join(" ")}:\n${output}`);
      return output;
    };
    await untilReady(children, folder, () => kubectl(["get", "--raw=/readyz"]).status === 0);
    const shared = [`--kubeconfig=${kubeconfig}`, "--leader-elect=false"];
    start("kube-controller-manager", [
      ...shared,
      "--secure-port=0",
      `--service-account-private-key-file=${path.join(folder, "accounts.key")}`,
      "--use-service-account-credentials=false",
      "--horizontal-pod-autoscaler-sync-period=5s",
    ]);
    start("kube-scheduler", [...shared, "--secure-port=0"]);
    start("kwok", [
      `--kubeconfig=${kubeconfig}`,
      "--manage-all-nodes=true",
      ...readdirSync(stages)
        .filter((file) => file.endsWith(".yaml"))
        .map((file) => `--config=${path.join(stages, file)}`),
    ]);
    return {
      kubectl,
      demand,
      addNode(name, zone, gpus) {
        demand(["apply", "-f", "-"], JSON.stringify(node(name, zone, gpus)));
      },
      stop,
    };
  } catch (thrown) {
    await stop();
    throw thrown;
  }
}

async function writeCredentials(folder: string, kubeconfig: string, api: number): Promise<void> {
  const token = randomBytes(16).toString("hex");
  await mkdir(path.join(folder, "certificates"));
  await writeFile(path.join(folder, "tokens.csv"), `${token},admin,admin,"system:masters"\n`);
  const { privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
    publicKeyEncoding: { type: "pkcs1", format: "pem" },
  });
  await writeFile(path.join(folder, "accounts.key"), privateKey);
  const config = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "test",
    contexts: [{ name: "test", context: { cluster: "test", user: "admin" } }],
    clusters: [
      {
        name: "test",
        // Its certificate is made at its start, by itself, on loopback.
        cluster: { server: `https://127.0.0.1:${api}`, "insecure-skip-tls-verify": true },
      },
    ],
    users: [{ name: "admin", user: { token } }],
  };
  await writeFile(kubeconfig, JSON.stringify(config));
}

async function untilReady(
  children: readonly ChildProcess[],
  folder: string,
  ready: () => boolean,
): Promise<void> {
  const deadline = Date.now() + START_MS;
  while (!ready()) {
    const dead = children.find(({ exitCode }) => exitCode !== null);
    if (dead !== undefined || Date.now() > deadline) {
      const log = await readFile(path.join(folder, "kube-apiserver.log"), "utf8");
      throw new Error(`The control plane did not start:\n${log.slice(-3_000)}`);
    }
    await sleep(500);
  }
}

function node(name: string, zone: string, gpus: number) {
  const resources = { cpu: "16", memory: "64Gi", pods: "110", "nvidia.com/gpu": String(gpus) };
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      labels: {
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/zone": zone,
        ...(gpus > 0 ? { "nvidia.com/gpu.present": "true" } : {}),
      },
    },
    spec:
      gpus > 0
        ? { taints: [{ key: "nvidia.com/gpu", value: "present", effect: "NoSchedule" }] }
        : {},
    status: { allocatable: resources, capacity: resources },
  };
}
