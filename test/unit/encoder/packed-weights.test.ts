import assert from "node:assert/strict";
import path from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { fitOf } from "../../../src/encoder/provider-fit.js";
import { openCheckpoint } from "../../../src/encoder/checkpoint-directory.js";
import { openSession } from "../../../src/encoder/onnx-session.js";
import { readUnpacked, unpackRows } from "../../../src/encoder/packed-weights.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

describe("weights that are stored in four bits", function () {
  this.timeout(60_000);
  const model = (variant: "bi" | "prompt") => path.join(tinyCheckpoint(variant), "model.onnx");

  it("are those that ONNX Runtime unpacks by the file's own function", async () => {
    const rows = [
      [5, 9, 40, 41, 200],
      [7, 300],
    ];
    const session = await openSession(model("prompt"), { provider: "cpu", threads: 1 });
    const ours = await session.run(rows, 0, 380);
    await session.close();
    const plain = await InferenceSession.create(model("prompt"), { intraOpNumThreads: 1 });
    for (const [i, row] of rows.entries()) {
      const ids = BigInt64Array.from(row, BigInt);
      const { indices, weights } = await plain.run({
        input_ids: new Tensor("int64", ids, [1, row.length]),
        attention_mask: new Tensor(
          "int64",
          ids.map(() => 1n),
          [1, row.length],
        ),
        k: new Tensor("int64", BigInt64Array.of(380n), [1]),
      });
      const count = ours[i]?.ids.length ?? 0;
      assert.ok(count > 0);
      assert.deepEqual(
        [...(ours[i]?.ids ?? [])],
        [...(indices?.data as Int32Array)].slice(0, count),
      );
      ours[i]?.weights.forEach((weight, k) =>
        assert.ok(Math.abs(weight - (weights?.data as Float32Array)[k]!) < 1e-5),
      );
    }
    await plain.release();
  });

  it("follow the formula, halves to even", () => {
    const packed = Uint8Array.of(0x20, 0x43, 0xf1, 0x08);
    const codes = unpackRows(
      packed,
      Float32Array.of(1, 0.5),
      Float32Array.of(-2, 0),
      Float32Array.of(1, 2, 1, 1),
      Float32Array.of(1, 0.5),
    );
    assert.deepEqual([...codes], [-2, 0, 1, 2, 1, 30, 8, 0]);
    const halves = unpackRows(
      Uint8Array.of(0x31, 0x75),
      Float32Array.of(0.5),
      Float32Array.of(0),
      Float32Array.of(1, 1, 1, 1),
      Float32Array.of(1),
    );
    assert.deepEqual([...halves], [0, 2, 2, 4]);
  });

  it("are counted as the bytes that they take in a session; other models are left as they are", async () => {
    assert.equal(readUnpacked(model("bi")), undefined);
    const { memory, unknown } = fitOf(await openCheckpoint(tinyCheckpoint("prompt")), testConfig());
    assert.deepEqual(unknown, []);
    assert.ok(memory.weights > memory.stored);
  });
});
