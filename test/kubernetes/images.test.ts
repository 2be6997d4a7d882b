/**
 * The Dockerfiles, without Docker: hadolint reads them, and the CPU image's own instructions are
 * carried out in folders that stand for its stages. What no test here can do is pull the bases and
 * run on a GPU.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { DockerfileParser, type Instruction } from "dockerfile-ast";
import { z } from "zod";
import { packageRoot, packageVersion } from "../../src/config/package-root.js";
import { openCheckpoint } from "../../src/encoder/checkpoint-directory.js";
import { plainManifests, workloadsOf } from "../support/manifests.js";
import { demandTool, runTool } from "../support/kubernetes-tools.js";
import { tinyCheckpoint } from "../support/tiny-checkpoints.js";

const dockerfiles = ["Dockerfile", "Dockerfile.cuda", "Dockerfile.model"];

const packageJson = z
  .object({
    dependencies: z.record(z.string(), z.string()),
    files: z.array(z.string()),
  })
  .parse(readJson("package.json"));

const packageLock = z
  .object({ packages: z.record(z.string(), z.object({ dev: z.boolean().optional() })) })
  .parse(readJson("package-lock.json"));

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(path.join(packageRoot, file), "utf8"));
}

describe("the Dockerfiles", () => {
  it("are in order for hadolint", function () {
    const schemas = demandTool(this, "schemas");
    const end = runTool(path.join(schemas, "hadolint"), dockerfiles);
    assert.equal(end.status, 0, end.output);
  });

  it("start from bases pinned by digest", () => {
    for (const file of dockerfiles) {
      const bases = instructionsOf(file)
        .filter((each) => each.getKeyword() === "FROM")
        .map((each) => argumentsOf(each)[0] ?? "");
      const pinned = bases.map((base) =>
        base === "${CSPLADE_IMAGE}" ? "ours@sha256:" : resolved(file, base),
      );
      for (const base of pinned) assert.match(base, /@sha256:([0-9a-f]{64})?$/, `${file}: ${base}`);
    }
  });

  it("end as a user without rights", () => {
    for (const file of dockerfiles) {
      const users = instructionsOf(file).filter((each) => each.getKeyword() === "USER");
      assert.deepEqual(argumentsOf(users.at(-1)), ["65532:65532"], file);
    }
  });

  it("take the CUDA provider of the very version of ONNX Runtime that npm installs", () => {
    const pinned = readFileSync(
      path.join(packageRoot, "k8s", "images", "onnxruntime-gpu.txt"),
      "utf8",
    );
    const version = packageJson.dependencies["onnxruntime-node"] ?? "";
    assert.ok(pinned.includes(`onnxruntime-gpu==${version} --hash=sha256:`), pinned);
  });
});

describe("the CPU image, its instructions carried out in folders", function () {
  this.timeout(900_000);
  let folder: string;
  let image: string;

  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-image-"));
    chmodSync(folder, 0o755);
    const context = path.join(folder, "context");
    mkdirSync(context);
    for (const name of sentToDocker()) {
      const source = path.join(packageRoot, name);
      if (existsSync(source)) cpSync(source, path.join(context, name), { recursive: true });
    }
    image = buildIn(folder, context, "Dockerfile");
  });

  after(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it("holds the packages that run, none that build or test, and no tests", () => {
    const installed = readdirSync(path.join(image, "app", "node_modules"));
    assert.ok(installed.includes("onnxruntime-node"));
    // Not package.json's list: what a test imports, a package that runs may need as well.
    for (const [place, { dev = false }] of Object.entries(packageLock.packages)) {
      if (dev) assert.ok(!existsSync(path.join(image, "app", place)), place);
    }
    assert.deepEqual(readdirSync(path.join(image, "app", "dist")), ["src"]);
    const platforms = path.join(image, "app/node_modules/onnxruntime-node/bin/napi-v6");
    assert.deepEqual(readdirSync(platforms), ["linux"]);
    assert.deepEqual(readdirSync(path.join(platforms, "linux")), [process.arch]);
  });

  it("runs its entrypoint as that user, and encodes with a model at a mounted path", () => {
    assert.equal(runImage(image, ["--version"]).output.trim(), packageVersion);
    const end = runImage(image, ["encode", "fear of closed spaces", "--json"], {
      CSPLADE_MODEL: tinyCheckpoint("bi"),
    });
    assert.equal(end.status, 0, end.output);
    assert.match(end.output, /"terms"|"vector"/);
  });

  it("holds every folder that the package says it needs at run time", () => {
    // Models are mounted, and nobody reads documentation there.
    for (const name of packageJson.files.filter((each) => !/^(models|docs)$/.test(each))) {
      assert.ok(existsSync(path.join(image, "app", name)), `${name} is not copied`);
    }
  });

  it("serves the gateway, its console too", async () => {
    const gateway = startImage(image, ["serve", "--port", "0", "--json"], {
      CSPLADE_MODEL: tinyCheckpoint("bi"),
    });
    try {
      let output = "";
      for await (const chunk of gateway.stdout) {
        output += String(chunk);
        if (output.includes("\n")) break;
      }
      const { url } = z.object({ url: z.string() }).parse(JSON.parse(output));
      assert.equal((await fetch(`${url}/ready`)).status, 200);
      assert.equal((await fetch(`${url}/_csplade/console`)).status, 200);
    } finally {
      gateway.kill("SIGKILL");
    }
  });

  it("takes a few hundred megabytes at most", () => {
    const bytes = sizeOf(path.join(image, "app"));
    assert.ok(bytes < 300e6, `${(bytes / 1e6).toFixed(0)} MB`);
  });
});

describe("a checkpoint on its way into a pod, as user 65532", function () {
  this.timeout(60_000);
  let folder: string;
  let stage: string;

  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-model-"));
    chmodSync(folder, 0o755);
    stage = path.join(folder, "stage");
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** A checkpoint as exporters leave it: large weights for their owner alone, one file a link. */
  function exported(linkTo: string): string {
    const directory = path.join(folder, "exported");
    cpSync(tinyCheckpoint("bi"), directory, { recursive: true });
    renameSync(path.join(directory, "model.onnx"), path.join(directory, "weights"));
    symlinkSync(linkTo, path.join(directory, "model.onnx"));
    chmodSync(path.join(directory, "weights"), 0o600);
    return directory;
  }

  /** Runs an init container's command of the chart, its paths below the folder. */
  function initialize(component: string): string {
    const pod = workloadsOf(plainManifests()).find(
      ({ labels }) => labels["app.kubernetes.io/component"] === component,
    )?.pod;
    const [program = "", ...args] = (pod?.initContainers[0]?.command ?? []).map((each) =>
      each.replaceAll(
        /(^|[\s"])\/(models?\/?)/g,
        (_, before: string, name: string) =>
          `${before}${path.join(name.startsWith("models") ? folder : stage, name)}`,
      ),
    );
    const models = path.join(folder, "models");
    mkdirSync(models);
    const user = process.getuid?.() === 0 ? { uid: 65532, gid: 65532 } : {};
    if (user.uid !== undefined) chownSync(models, user.uid, user.gid);
    for (let attempt = 0; attempt < 2; attempt++) {
      const end = spawnSync(program, args, { encoding: "utf8", ...user });
      assert.equal(end.status, 0, end.stderr);
    }
    return path.join(models, "model");
  }

  it("is readable and without links, also when the init container runs twice", async () => {
    buildIn(stage, exported("weights"), "Dockerfile.model");
    const arrived = initialize("worker");
    assert.ok(lstatSync(path.join(arrived, "model.onnx")).isFile());
    assert.equal((await openCheckpoint(arrived)).manifest.format, 1);
    const readable = spawnSync("cat", [path.join(arrived, "model.onnx")], {
      ...(process.getuid?.() === 0 ? { uid: 65532, gid: 65532 } : {}),
      maxBuffer: 64 << 20,
    });
    assert.equal(readable.status, 0, String(readable.stderr));
  });

  it("leaves graph and weights behind for what only coordinates", async () => {
    buildIn(stage, exported("weights"), "Dockerfile.model");
    writeFileSync(path.join(stage, "model", "model.onnx_data"), "weights");
    const arrived = initialize("reindex");
    const names = readdirSync(arrived);
    assert.ok(names.includes("manifest.json") && names.includes("tokenizer.json"), String(names));
    assert.deepEqual(
      names.filter((name) => name.startsWith("model.onnx")),
      [],
    );
    assert.equal((await openCheckpoint(arrived, { graph: false })).manifest.format, 1);
  });

  it("is refused at the build where a link leads out of it", () => {
    const directory = exported("../elsewhere/model.onnx");
    assert.throws(() => buildIn(stage, directory, "Dockerfile.model"), /find -L/);
  });
});

function instructionsOf(file: string): Instruction[] {
  return DockerfileParser.parse(
    readFileSync(path.join(packageRoot, file), "utf8"),
  ).getInstructions();
}

function argumentsOf(instruction: Instruction | undefined): string[] {
  return instruction?.getArguments().map((each) => each.getValue()) ?? [];
}

/** `${NAME}` → the default of its ARG. */
function resolved(file: string, text: string): string {
  const defaults = new Map(
    instructionsOf(file)
      .filter((each) => each.getKeyword() === "ARG")
      .map((each) => argumentsOf(each)[0]?.split("=", 2) ?? [])
      .map(([name = "", value = ""]) => [name, value]),
  );
  return text.replace(/\$\{(\w+)\}/g, (_, name: string) => defaults.get(name) ?? "");
}

/** The names that .dockerignore lets through. */
function sentToDocker(): string[] {
  const lines = readFileSync(path.join(packageRoot, ".dockerignore"), "utf8").split("\n");
  assert.ok(lines.includes("*"), ".dockerignore no longer starts from nothing");
  return lines.filter((line) => line.startsWith("!")).map((line) => line.slice(1));
}

/**
 * Carries out a Dockerfile: each stage is a folder that stands for `/`. Only the instructions that
 * ours have; absolute paths in RUN become paths below the stage's folder.
 * @returns the folder of the last stage
 */
function buildIn(folder: string, context: string, file: string): string {
  const stages = new Map<string, string>();
  let stage = "";
  let workdir = "";
  for (const instruction of instructionsOf(file)) {
    const args = argumentsOf(instruction);
    switch (instruction.getKeyword()) {
      case "FROM":
        stage = path.join(folder, args[2] ?? "");
        stages.set(args[2] ?? "", stage);
        mkdirSync(path.join(stage, "usr/local/bin"), { recursive: true });
        break;
      case "WORKDIR":
        workdir = path.join(stage, args[0] ?? "");
        mkdirSync(workdir, { recursive: true });
        break;
      case "COPY":
        copy(args, stages, context, workdir, stage);
        changeMode(instruction, path.join(stage, args.at(-1) ?? ""));
        break;
      case "RUN":
        runIn(instruction, stage, workdir || stage);
        break;
    }
  }
  return stage;
}

/** Does what `--chmod` of a COPY says; links keep leading where they led. */
function changeMode(instruction: Instruction, target: string): void {
  const mode = /--chmod=(\d+)/.exec(instruction.toString())?.[1];
  if (mode === undefined) return;
  const args = [target, "-not", "-type", "l", "-exec", "chmod", mode, "{}", "+"];
  const end = spawnSync("find", args, { encoding: "utf8" });
  assert.equal(end.status, 0, end.stderr);
}

function copy(
  args: readonly string[],
  stages: ReadonlyMap<string, string>,
  context: string,
  workdir: string,
  stage: string,
): void {
  // The parser counts --from and --chmod among the flags, not the arguments.
  const to = args.at(-1) ?? "";
  const target = path.isAbsolute(to) ? path.join(stage, to) : path.resolve(workdir, to);
  for (const source of args.slice(0, -1)) {
    const from = source.startsWith("/")
      ? path.join(stages.get("build") ?? "", source)
      : path.join(context, source);
    // A folder's content, not the folder, is what COPY copies.
    const into =
      to.endsWith("/") && source !== "." ? path.join(target, path.basename(source)) : target;
    mkdirSync(path.dirname(into), { recursive: true });
    // Hard links: node_modules has thousands of files, and a stage changes none of another's.
    const end = spawnSync("cp", ["-al", from, into], { encoding: "utf8" });
    assert.equal(end.status, 0, end.stderr);
  }
}

function runIn(instruction: Instruction, stage: string, workdir: string): void {
  const command = (instruction.getArgumentsContent() ?? "")
    .replace(/\\\n/g, " ")
    .replaceAll(/(^|\s)\/(app|usr|model)\b/g, `$1${stage}/$2`);
  const end = spawnSync("sh", ["-euc", command], {
    cwd: workdir,
    encoding: "utf8",
    env: { PATH: process.env.PATH, HOME: process.env.HOME, npm_config_prefer_offline: "true" },
    timeout: 500_000,
  });
  assert.equal(end.status, 0, `RUN ${command}\n${end.stdout}${end.stderr}`);
}

/** Runs the image's entrypoint to its end. */
function runImage(
  image: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
) {
  const { program, options } = entrypointOf(image, env);
  const end = spawnSync(program, args, { ...options, encoding: "utf8", timeout: 60_000 });
  return { status: end.status, output: end.stdout + end.stderr };
}

/** Starts the image's entrypoint. */
function startImage(image: string, args: readonly string[], env: Readonly<Record<string, string>>) {
  const { program, options } = entrypointOf(image, env);
  return spawn(program, args, { ...options, stdio: ["ignore", "pipe", "inherit"] });
}

/** The entrypoint with its environment; as the image's user where this test may change users. */
function entrypointOf(image: string, env: Readonly<Record<string, string>>) {
  const [entrypoint = ""] = argumentsOf(
    instructionsOf("Dockerfile").find((each) => each.getKeyword() === "ENTRYPOINT"),
  ).map((each) => each.replace(/[[\]",]/g, ""));
  const program = path.join(image, "usr/local/bin", entrypoint);
  assert.ok(lstatSync(program).isSymbolicLink(), program);
  const options = {
    cwd: path.join(image, "app"),
    env: { PATH: process.env.PATH, NODE_ENV: "production", CSPLADE_HOME: "/tmp/csplade", ...env },
    ...(process.getuid?.() === 0 ? { uid: 65532, gid: 65532 } : {}),
  };
  return { program, options };
}

function sizeOf(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + lstatSync(path.join(entry.parentPath, entry.name)).size, 0);
}
