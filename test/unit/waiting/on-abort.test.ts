import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { onAbort } from "../../../src/waiting/on-abort.js";

const listenersOf = (signal: AbortSignal) => getEventListeners(signal, "abort").length;

describe("many waits on one abort signal", () => {
  it("put one listener on it, and none once all of them are over", () => {
    const { signal } = new AbortController();
    const stops = Array.from({ length: 30 }, () => onAbort(signal, () => {}));
    assert.equal(listenersOf(signal), 1);
    for (const stop of stops) stop();
    assert.equal(listenersOf(signal), 0);
    onAbort(signal, () => {});
    assert.equal(listenersOf(signal), 1);
  });

  it("are each told once, except those that are over", () => {
    const controller = new AbortController();
    const told: string[] = [];
    onAbort(controller.signal, () => told.push("first"));
    const over = onAbort(controller.signal, () => told.push("over"));
    const twice = (): void => void told.push("twice");
    onAbort(controller.signal, twice);
    onAbort(controller.signal, twice);
    over();
    controller.abort();
    controller.abort();
    assert.deepEqual(told, ["first", "twice", "twice"]);
  });

  it("can be ended by one that is told before them", () => {
    const controller = new AbortController();
    let told = false;
    onAbort(controller.signal, () => stop());
    const stop = onAbort(controller.signal, () => (told = true));
    controller.abort();
    assert.equal(told, false);
  });
});
