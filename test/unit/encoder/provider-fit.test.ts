import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { InferenceSession } from "onnxruntime-node";
import { loadConfig } from "../../../src/config/load-config.js";
import { packageRoot } from "../../../src/config/package-root.js";
import { openCheckpoint } from "../../../src/encoder/checkpoint-directory.js";
import { CUDA_OPERATORS_VERSION, cudaSupport } from "../../../src/encoder/cuda-operators.js";
import { openEncoder } from "../../../src/encoder/encoder.js";
import { readGraphFile } from "../../../src/encoder/graph-file.js";
import { runtimeSettings } from "../../../src/encoder/onnx-session.js";
import { fitOf } from "../../../src/encoder/provider-fit.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { csplade } from "../../support/csplade-command.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

describe("a graph and the provider that shall compute it", function () {
  this.timeout(60_000);
  let folder: string;
  before(() => (folder = mkdtempSync(path.join(os.tmpdir(), "csplade-fit-"))));
  after(() => rmSync(folder, { recursive: true }));

  /** The tiny checkpoint with another manifest, and its graph's operators renamed where asked for. */
  function changed(
    name: string,
    manifest: object,
    rename: readonly [string, string][] = [],
  ): string {
    const directory = path.join(folder, name);
    cpSync(tinyCheckpoint("bi"), directory, { recursive: true });
    const model = path.join(directory, "model.onnx");
    let bytes = readFileSync(model).toString("latin1");
    for (const [from, to] of rename) {
      assert.equal(from.length, to.length, "protobuf counts the bytes of a name");
      assert.ok(bytes.includes(from));
      bytes = bytes.replaceAll(from, to);
    }
    writeFileSync(model, bytes, "latin1");
    const file = path.join(directory, "manifest.json");
    const parsed = JSON.parse(readFileSync(file, "utf8")) as { files: Record<string, object> };
    const sha256 = createHash("sha256").update(readFileSync(model)).digest("hex");
    parsed.files["model.onnx"] = { sha256, bytes: Buffer.byteLength(bytes, "latin1") };
    writeFileSync(file, JSON.stringify({ ...parsed, ...manifest }));
    return directory;
  }

  it("is read without a session: operators of subgraphs too, and the bytes of all weights", () => {
    const graph = readGraphFile(path.join(tinyCheckpoint("bi"), "model.onnx"));
    const names = graph.operators.map(({ name }) => name);
    for (const name of ["MatMul", "TopK", "com.microsoft.MultiHeadAttention"]) {
      assert.ok(names.includes(name), name);
    }
    const size = readFileSync(path.join(tinyCheckpoint("bi"), "model.onnx")).length;
    assert.ok(graph.weight_bytes > 0.9 * size && graph.weight_bytes < size, `${size}`);
  });

  it("is refused by what is no ONNX file, whatever its bytes, within bounds", () => {
    const file = path.join(folder, "arbitrary.onnx");
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        writeFileSync(file, bytes);
        try {
          readGraphFile(file);
        } catch (thrown) {
          assert.ok(thrown instanceof CspladeError && thrown.code === "model_invalid");
        }
      }),
      { numRuns: 200 },
    );
  });

  it("has the operators of the version of ONNX Runtime that is installed", () => {
    const file = path.join(packageRoot, "node_modules", "onnxruntime-node", "package.json");
    const { version } = JSON.parse(readFileSync(file, "utf8")) as { version: string };
    assert.equal(
      CUDA_OPERATORS_VERSION,
      version,
      "read the lists anew from the provider's library",
    );
    assert.equal(cudaSupport("com.microsoft.MatMulIntegerToFloat"), "absent");
    assert.equal(cudaSupport("com.microsoft.MatMulNBits"), "present");
    assert.equal(cudaSupport("com.example.Other"), "unknown");
  });

  it("is known in all of its operators, for each checkpoint that is shipped", async () => {
    for (const name of readdirSync(path.join(packageRoot, "models"))) {
      const directory = path.join(packageRoot, "models", name);
      const fit = fitOf(await openCheckpoint(directory), testConfig());
      assert.deepEqual(fit.unknown, [], name);
    }
  });

  it("is refused on CUDA where an operator would be left to the CPU, unless that is allowed", async () => {
    const directory = changed("absent", {}, [["TopK", "STFT"]]);
    const config = { "model.path": directory, "model.provider": "cuda" };
    await assert.rejects(
      openEncoder(testConfig(config)),
      (thrown: unknown) =>
        thrown instanceof CspladeError &&
        thrown.code === "provider_unsuitable" &&
        /STFT \(1 node\)/.test(thrown.message) &&
        /--provider cuda/.test(thrown.hint ?? ""),
    );
    const allowed = testConfig({ ...config, "model.cpu_fallback": "allow" });
    await assert.rejects(openEncoder(allowed), { code: "provider_unavailable" });
  });

  it("is refused by another provider than its manifest says", async () => {
    const directory = changed("for-cuda", { provider: "cuda" });
    const config = { "model.path": directory };
    await assert.rejects(openEncoder(testConfig(config)), { code: "provider_unsuitable" });
    const encoder = await openEncoder(testConfig({ ...config, "model.cpu_fallback": "allow" }));
    await encoder.close();
    const doctor = await csplade(["doctor", "--json", "--model", directory]);
    const { checks } = JSON.parse(doctor.output.slice(doctor.output.indexOf("{"))) as {
      checks: { name: string; ok: boolean; says: string }[];
    };
    const graph = checks.find(({ name }) => name === "graph");
    assert.ok(graph !== undefined && !graph.ok);
    assert.match(graph.says, /for cuda, \d+ nodes, .* of weights/);
    assert.match(graph.says, /a kernel of each operator/);
  });

  it("is opened on CUDA without a fallback where none is allowed, which the runtime holds to", async () => {
    const { extra, executionProviders } = runtimeSettings({
      provider: "cuda",
      device: 3,
      allowCpu: false,
      threads: 1,
    });
    assert.deepEqual(executionProviders, [{ name: "cuda", deviceId: 3 }]);
    assert.ok(extra !== undefined);
    const { modelFile } = await openCheckpoint(tinyCheckpoint("bi"));
    // Here is no other provider than the CPU's: with the option no graph may be left to it.
    const opened = await InferenceSession.create(modelFile, { executionProviders: ["cpu"] });
    await opened.release();
    await assert.rejects(
      InferenceSession.create(modelFile, {
        executionProviders: ["cpu"],
        extra,
        logSeverityLevel: 4,
      }),
      /fallback to CPU EP has been explicitly disabled/,
    );
    assert.equal(
      runtimeSettings({ provider: "cpu", allowCpu: false, threads: 1 }).extra,
      undefined,
    );
  });

  it("has no limit of a card's memory: no setting says one, since the binding would not pass it on", () => {
    for (const name of ["gpu_mem_limit", "arena_extend_strategy"]) {
      const file = path.join(folder, `${name}.yaml`);
      writeFileSync(file, `model:\n  ${name}: 1\n`);
      assert.throws(() => loadConfig({ file }), new RegExp(name));
    }
    const require = createRequire(import.meta.url);
    const root = path.resolve(path.dirname(require.resolve("onnxruntime-node")), "..");
    const bin = path.join(root, "bin", "napi-v6", process.platform, process.arch);
    const binding = readFileSync(path.join(bin, "onnxruntime_binding.node")).toString("latin1");
    assert.ok(binding.includes("deviceId"));
    assert.ok(!/gpu_mem_limit|gpuMemLimit|arena_extend|arenaExtend/.test(binding));
  });
});
