/**
 * The commands and values of docs/kubernetes.md, as they stand there. Without a cluster: what would be
 * sent to one is made and looked at (`helm template`, `kubectl --dry-run=client`, `kubectl kustomize`),
 * and of programs that run in pods the flags are checked. A command of an unknown kind fails.
 */
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { packageRoot } from "../../src/config/package-root.js";
import { findProgram } from "../../src/servers/program.js";
import { csplade } from "../support/csplade-command.js";
import { demandTool, runTool } from "../support/kubernetes-tools.js";
import { at, objectsIn, workloadsOf } from "../support/manifests.js";

const document = readFileSync(path.join(packageRoot, "docs", "kubernetes.md"), "utf8");

/** The fenced blocks of a language, without the indentation of a list around them. */
function blocksOf(language: string): string[] {
  const fence = new RegExp(`^( *)\`\`\`${language}\\n([\\s\\S]*?)^ *\`\`\`$`, "gm");
  return [...document.matchAll(fence)].map(([, indent = "", body = ""]) =>
    body.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  );
}

const commands = blocksOf("sh").flatMap((block) =>
  block
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .map((line) => line.replace(/\s+#.*$/, "").trim())
    .filter((line) => line !== ""),
);

const words = (command: string): string[] => command.split(/\s+/);

describe("the first hour on Kubernetes, as it is written", function () {
  this.timeout(120_000);
  let folder: string;
  let helm: string;

  before(function () {
    helm = path.join(demandTool(this, "helm"), "helm");
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-first-hour-"));
    cpSync(path.join(packageRoot, "k8s"), path.join(folder, "k8s"), { recursive: true });
    writeFileSync(path.join(folder, "ca.crt"), "a certificate\n");
    const values = blocksOf("yaml").find((block) => block.startsWith("# values-mine.yaml"));
    writeFileSync(path.join(folder, "values-mine.yaml"), values ?? "");
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  function kubectl(...args: string[]): string {
    const program = findProgram("kubectl");
    assert.ok(program !== undefined);
    const end = runTool(program, args, { cwd: folder });
    assert.equal(end.status, 0, `kubectl ${args.join(" ")}\n${end.output}`);
    return end.output;
  }

  /** Renders what `helm install` or `helm template` of the document says. */
  function render(command: string): string {
    const [, , ...rest] = words(command.replace(/\s*\|.*$/, ""));
    const args = ["template", ...rest, "--kube-version=1.36.0"];
    const end = runTool(helm, args, { cwd: folder });
    assert.equal(end.status, 0, `${command}\n${end.output}`);
    return end.output;
  }

  async function knowsFlags(args: readonly string[]): Promise<void> {
    const { output } = await csplade([args[0] ?? "", "--help"]);
    for (const flag of args.filter((each) => each.startsWith("--"))) {
      assert.ok(output.includes(flag), `csplade ${args[0] ?? ""} has no ${flag}`);
    }
  }

  for (const command of commands) {
    it(command.slice(0, 90), async function () {
      const all = words(command);
      const [program = "", verb = ""] = all;
      const inPod = all.indexOf("--") + 1;
      if (program === "helm") {
        const objects = objectsIn(render(command));
        assert.ok(workloadsOf(objects).length > 0);
        if (command.includes("kubectl create")) {
          assert.deepEqual(
            objects.map(({ kind }) => kind),
            ["Job"],
          );
        }
      } else if (program === "kubectl" && all.includes("exec")) {
        assert.equal(all[inPod], "csplade");
        await knowsFlags(all.slice(inPod + 1));
      } else if (program === "kubectl") {
        if (findProgram("kubectl") === undefined) this.skip();
        const [made] = objectsIn(kubectl(...all.slice(1), "--dry-run=client", "-o", "yaml"));
        assert.ok(made !== undefined);
        assert.ok(["Namespace", "Secret"].includes(made.kind), made.kind);
      } else if (program === "docker") {
        const file = all.includes("-f") ? (all[all.indexOf("-f") + 1] ?? "") : "Dockerfile";
        for (const each of [file, all.at(-1) ?? ""]) {
          assert.ok(existsSync(path.join(packageRoot, each)), each);
        }
      } else if (program === "csplade") await knowsFlags([verb, ...all.slice(2)]);
      else if (program === "csplade-train") assert.equal(verb, "export-again");
      else if (program.startsWith(".ci/")) assert.ok(existsSync(path.join(packageRoot, program)));
      else assert.fail(`${program}: nothing here knows how to run it`);
    });
  }

  it("names Secret and keys that the pods ask for", () => {
    const secret = commands.find((each) => each.includes("csplade-credentials")) ?? "";
    const install = commands.find((each) => each.startsWith("helm install")) ?? "";
    for (const { pod } of workloadsOf(objectsIn(render(install)))) {
      for (const { valueFrom } of pod.containers.flatMap(({ env }) => env)) {
        const asked = valueFrom?.secretKeyRef;
        if (asked === undefined || asked.optional === true) continue;
        assert.equal(asked.name, "csplade-credentials");
        assert.ok(secret.includes(`--from-literal=${asked.key}=`), asked.key);
      }
    }
  });

  it("makes the plain manifests one's own by the overlay", function () {
    if (findProgram("kubectl") === undefined) this.skip();
    const overlay = blocksOf("yaml").find((block) => block.startsWith("# kustomization.yaml"));
    cpSync(path.join(packageRoot, "k8s"), path.join(folder, "csplade", "k8s"), { recursive: true });
    writeFileSync(path.join(folder, "kustomization.yaml"), overlay ?? "");
    const objects = objectsIn(kubectl("kustomize", "."));
    const settings = objects.find(({ kind, data }) => kind === "ConfigMap" && data?.CSPLADE_MODEL);
    assert.equal(settings?.data?.OPENSEARCH_URL, "https://opensearch.search.svc:9200");
    const images = workloadsOf(objects).flatMap(({ pod }) => pod.containers.map((c) => c.image));
    assert.ok(images.length > 0);
    for (const image of images) assert.match(image, /^registry\.example\.com\/csplade:/);
    assert.equal(at(objects[0], "metadata", "namespace") ?? "csplade", "csplade");
  });

  it("has values in every other block that the chart takes", () => {
    const install = commands.find((each) => each.startsWith("helm install")) ?? "";
    const more = blocksOf("yaml").filter(
      (block) => /^[a-zA-Z]+:/m.test(block) && !block.startsWith("#"),
    );
    assert.ok(more.length > 0);
    for (const block of more) {
      const file = path.join(folder, "more.yaml");
      writeFileSync(file, block);
      render(`${install} --values ${file}`);
    }
  });
});
