import assert from "node:assert/strict";
import fc from "fast-check";
import type { SliceRecord } from "../../../src/reindex/run-record.js";
import { afterBrokenDevice, FATAL_CRASHES, isFatal } from "../../../src/reindex/slice-claim.js";

/** A slice whose worker began at its place and came no further. */
const stuck = {
  state: "open",
  position: 40,
  claimed_from: 40,
  crashes: 0,
  careful: 0,
  broken_devices: [],
} as unknown as SliceRecord;

const after = (record: SliceRecord, host: string): SliceRecord => ({
  ...record,
  ...afterBrokenDevice(record, host),
});

describe("a slice at whose place devices break", () => {
  it("narrows down to one document, which is to blame only after devices of several hosts broke", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 30 }), (hosts) => {
        const record = hosts.reduce(after, stuck);
        const isBlamed = new Set(hosts).size >= 2 && hosts.length >= FATAL_CRASHES;
        assert.equal(isFatal(record), isBlamed, hosts.join(""));
        if (hosts.length >= 6) assert.equal(record.careful, 1);
      }),
    );
  });

  it("forgets what broke where something was done since", () => {
    const record = after(after(stuck, "a"), "b");
    assert.deepEqual(record.broken_devices, ["a", "b"]);
    const later = after({ ...record, position: 41 }, "c");
    assert.deepEqual([later.crashes, later.broken_devices], [1, ["c"]]);
  });
});
