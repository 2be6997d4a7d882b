import assert from "node:assert/strict";
import fc from "fast-check";
import { readStamp, stampHash } from "../../../src/index/write-stamp.js";

describe("the stamp of a write", () => {
  const version = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });

  it("says again what was stamped, whatever the versions", () => {
    const hash = fc.stringMatching(/^[\w-]{11}$/);
    fc.assert(
      fc.property(hash, version, version, (text, written, source) => {
        const stamp = { hash: text, written, source };
        assert.deepEqual(readStamp(stampHash(stamp)), stamp);
      }),
    );
  });

  it("is short where both versions are one, and absent where there is none", () => {
    assert.equal(stampHash({ hash: "abc", written: 7, source: 7 }), "abc@7");
    assert.equal(stampHash({ hash: "abc", written: 8, source: 21 }), "abc@8:21");
    assert.equal(stampHash({ hash: "abc" }), "abc");
    assert.deepEqual(readStamp("abc"), { hash: "abc" });
  });
});
