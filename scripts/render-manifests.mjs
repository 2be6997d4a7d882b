/**
 * Renders the Helm chart with its default values to k8s/manifests/, a file per template, for
 * people who apply plain YAML.
 *
 *   node scripts/render-manifests.mjs           write the files
 *   node scripts/render-manifests.mjs --check   say which differ; status 1 if any does
 *
 * Status 3: helm is not there and cannot be built (scripts/kubernetes-tools.mjs).
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const manifests = path.join(root, "k8s", "manifests");
const check = process.argv.includes("--check");

const header = `# Rendered from k8s/helm/csplade by scripts/render-manifests.mjs: change the chart, not this file.
`;

/** Everything that the chart can make, with its own defaults. */
const values = [
  "reindex.enabled=true",
  "monitoring.podMonitor=true",
  "monitoring.prometheusRule=true",
  "monitoring.grafanaDashboard=true",
];

function run(program, args) {
  const end = spawnSync(program, args, {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 64 << 20,
  });
  if (end.status !== 0) process.exit(end.status ?? 1);
  return end.stdout;
}

const { helm } = JSON.parse(run(process.execPath, ["scripts/kubernetes-tools.mjs", "helm"]));
const rendered = run(path.join(helm, "helm"), [
  "template",
  "csplade",
  "k8s/helm/csplade",
  "--namespace=csplade",
  // helm built by `go install` believes that it talks to Kubernetes 1.20.
  "--kube-version=1.36.0",
  ...values.flatMap((each) => ["--set", each]),
]);

const files = new Map();
for (const document of rendered.split(/^---$/m)) {
  const source = /^# Source: csplade\/templates\/(.+)$/m.exec(document);
  if (source === null) continue;
  const body = document.replace(source[0], "").trim();
  const known = files.get(source[1]);
  files.set(source[1], known === undefined ? header + body : `${known}\n---\n${body}`);
}
let different = 0;
for (const [name, content] of files) {
  const file = path.join(manifests, name);
  if (existsSync(file) && readFileSync(file, "utf8") === content + "\n") continue;
  different++;
  if (check) process.stdout.write(`${path.relative(root, file)} is not what the chart renders\n`);
  else writeFileSync(file, content + "\n");
}
if (different > 0 && check) {
  process.stdout.write("run: node scripts/render-manifests.mjs\n");
  process.exitCode = 1;
}
