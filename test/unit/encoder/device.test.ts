import assert from "node:assert/strict";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { KNOWN_GOOD } from "../../../src/encoder/encoder-protocol.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import {
  threadStateMachine,
  threadStates,
  type ThreadTransition,
} from "../../../src/encoder/thread-state.js";
import type { CspladeError } from "../../../src/errors/csplade-error.js";
import { firstPassage } from "../../../src/text/passages.js";
import { createTokenizer, readTokenizerFile } from "../../../src/text/tokenizer.js";
import { faultyDevice, type FaultyDevice } from "../../support/faulty-device.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const texts = Array.from({ length: 40 }, (_, i) => `text number ${i} about subject ${i % 7}`);

describe("an encoder thread's state", () => {
  it("changes only along the ways there are, tells of each change, and ends closed", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...threadStates)), (wanted) => {
        const told: ThreadTransition[] = [];
        const machine = threadStateMachine(0, (transition) => told.push(transition));
        for (const to of wanted) {
          const before = machine.state;
          const count = told.length;
          try {
            machine.become(to);
            assert.deepEqual(told.at(-1), { thread: 0, from: before, to });
          } catch (thrown) {
            assert.ok(thrown instanceof RangeError);
            assert.equal(machine.state, before);
            assert.equal(told.length, count);
          }
          if (before === "closed") assert.equal(machine.state, "closed");
        }
      }),
    );
  });
});

describe("an encoder on a device that fails", function () {
  this.timeout(60_000);
  let device: FaultyDevice;
  let encoder: Encoder | undefined;
  let transitions: ThreadTransition[];
  beforeEach(() => {
    device = faultyDevice();
    // Threads take their environment from this process.
    process.env.CSPLADE_TEST_FAULTS = device.env.CSPLADE_TEST_FAULTS;
    transitions = [];
  });
  afterEach(async () => {
    await encoder?.close();
    encoder = undefined;
    delete process.env.CSPLADE_TEST_FAULTS;
    device.remove();
  });

  async function open(flags: Parameters<typeof testConfig>[0] = {}): Promise<Encoder> {
    encoder = await openEncoder(testConfig({ "model.run_timeout_ms": 1_000, ...flags }), {
      execArgv: device.execArgv,
      onTransition: (transition) => transitions.push(transition),
    });
    return encoder;
  }

  const failuresOf = async (encoder: Encoder, some = texts) =>
    (await encoder.encodeDocuments(some)).filter(({ failure }) => failure !== undefined);
  const isDevice = (error: CspladeError) => error.code === "device_failed";

  it("blames no text for a session that throws from its fourth batch on: the session is rebuilt", async () => {
    device.break("throw-from", 4);
    const encoder = await open();
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(await failuresOf(encoder, texts.slice(0, 4)), []);
    }
    const { restarts, state, last_inference } = encoder.health();
    assert.ok(restarts > 0);
    assert.equal(state, "ready");
    assert.ok(last_inference);
    assert.ok(transitions.some(({ to, reason }) => to === "failed" && reason?.includes("700")));
  });

  it("gives up with device_failed when a rebuilt session fails too, for all who wait", async () => {
    const encoder = await open();
    assert.deepEqual(await failuresOf(encoder), []);
    device.break("throw");
    await Promise.all([
      assert.rejects(encoder.encodeDocuments(texts), isDevice),
      assert.rejects(encoder.encodeQueries(["a question"]), isDevice),
    ]);
    assert.equal(encoder.health().state, "broken");
    assert.ok(encoder.broken.aborted);
    assert.ok(isDevice(encoder.broken.reason as CspladeError));
    await assert.rejects(encoder.encodeDocuments(["later"]), isDevice);
  });

  it("blames a text over which each session breaks, alone and with a code of its own", async () => {
    const culprit = "a text about zebras";
    const tokenizer = createTokenizer(
      readTokenizerFile(path.join(tinyCheckpoint("bi"), "tokenizer.json")),
    );
    const idsOf = (text: string) => firstPassage(text, tokenizer, 64).passages[0]?.ids ?? [];
    const others = new Set([KNOWN_GOOD, ...texts].flatMap(idsOf));
    const token = idsOf(culprit).find((id) => !others.has(id));
    assert.ok(token !== undefined);
    device.break("text", token);
    const encoder = await open();
    const all = [...texts.slice(0, 7), culprit, ...texts.slice(7)];
    for (const some of [all, [culprit]]) {
      const encoded = await encoder.encodeDocuments(some);
      const bad = encoded.flatMap(({ failure }, i) => (failure === undefined ? [] : [some[i]]));
      assert.deepEqual(bad, [culprit]);
      assert.equal(encoded[some.indexOf(culprit)]?.breaksDevice, true);
      assert.equal(encoder.health().state, "ready");
    }
  });

  it("blames no text where each session encodes what is known to be good once, and nothing after", async () => {
    device.break("throw-from", 2);
    const encoder = await open();
    await assert.rejects(encoder.encodeDocuments(texts.slice(0, 4)), isDevice);
    assert.ok(encoder.broken.aborted);
    await assert.rejects(encoder.encodeDocuments(["later"]), isDevice);
  });

  it("refuses to open on a device that encodes nothing", async () => {
    device.break("throw");
    await assert.rejects(open(), isDevice);
  });

  it("never takes a request to a dead thread: those that come while it starts again are answered", async () => {
    const encoder = await open();
    device.break("kill");
    const first = encoder.encodeDocuments([texts[0] ?? ""]);
    while (!transitions.some(({ to }) => to === "failed")) await new Promise(setImmediate);
    const later = encoder.encodeDocuments(texts);
    assert.deepEqual(
      [...(await first), ...(await later)].filter(({ failure }) => failure !== undefined),
      [],
    );
  });

  it("dies often and lives on, as long as something is encoded in between", async () => {
    const encoder = await open();
    for (let i = 0; i < 5; i++) {
      device.break("kill");
      assert.deepEqual(await failuresOf(encoder), []);
    }
    assert.equal(encoder.health().restarts, 5);
    assert.equal(encoder.health().state, "ready");
  });

  it("ends a hang in run at its deadline, and answers on a new thread", async () => {
    const encoder = await open();
    device.break("hang");
    assert.deepEqual(await failuresOf(encoder), []);
    assert.equal(encoder.health().restarts, 1);
    assert.ok(transitions.some(({ reason }) => reason?.includes("no sign")));
  });

  it("ends a hang in the first inference of a new session too, long before a load is given up", async () => {
    const encoder = await open();
    device.break("hang");
    const answer = encoder.encodeDocuments(texts);
    while (!transitions.some(({ to }) => to === "failed")) await sleep(20);
    // The session that takes the place hangs as well, in what it encodes to show that it works.
    device.break("hang");
    assert.deepEqual(
      (await answer).filter(({ failure }) => failure !== undefined),
      [],
    );
    assert.equal(encoder.health().state, "ready");
    assert.equal(encoder.health().restarts, 2);
  });

  it("halves batches when memory runs out, remembers what fitted and says so", async () => {
    const encoder = await open({ "model.token_budget": 512 });
    device.break("memory", 100);
    assert.deepEqual(await failuresOf(encoder), []);
    const fitting = encoder.health().fitting_tokens ?? Infinity;
    assert.ok(fitting <= 100 && fitting >= 32, `${fitting}`);
    const before = encoder.totals().batches;
    assert.deepEqual(await failuresOf(encoder), []);
    const { padded_tokens, batches } = encoder.totals();
    assert.ok(padded_tokens / batches <= 100);
    assert.ok(batches - before >= 4);
    assert.equal(encoder.health().restarts, 0);
  });

  it("makes the next texts ready while a session computes, and lets what was begun end when it is closed", async () => {
    const encoder = await open({ "model.run_timeout_ms": 30_000 });
    device.break("hold");
    const done: string[] = [];
    const windows = ["first", "second"].map(async (name) => {
      const failures = await failuresOf(encoder, [...texts, name]);
      done.push(name);
      return failures;
    });
    const settled = Promise.allSettled(windows);
    // Text threads take one thing after the other: behind these stands what both windows need.
    assert.equal((await encoder.literals(texts)).length, texts.length);
    assert.deepEqual(done, [], "the session computes the first");
    const closed = encoder.close();
    await assert.rejects(encoder.encodeDocuments(texts), { code: "aborted" });
    device.mend("hold");
    const [first, second] = await settled;
    assert.deepEqual(first, { status: "fulfilled", value: [] });
    assert.ok(second?.status === "rejected");
    assert.equal((second.reason as CspladeError).code, "aborted");
    await closed;
  });

  it("with two sessions, a failing one's texts are encoded by the other", async () => {
    const encoder = await open({ "model.sessions": 2 });
    device.break("kill");
    const answers = await Promise.all(texts.map((text) => failuresOf(encoder, [text])));
    assert.deepEqual(answers.flat(), []);
  });
});
