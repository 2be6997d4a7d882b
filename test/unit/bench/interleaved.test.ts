/** Systems that are compared take turns, so that neither order nor a first time favours one. */
import assert from "node:assert/strict";
import { measureLatencies, measureThroughput } from "../../../bench/interleaved.js";

describe("measuring systems side by side", () => {
  function recording(names: readonly string[]) {
    const asked: string[] = [];
    const systems = names.map((name) => ({
      name,
      find: (question: string) => {
        asked.push(`${name} ${question}`);
        return Promise.resolve({ hits: [{ id: `${name}-${question}`, score: 1 }], ms: 2 });
      },
    }));
    return { asked, systems };
  }

  it("asks every system each question once a round, none always after the same other", async () => {
    const { asked, systems } = recording(["a", "b", "c"]);
    const questions = Array.from({ length: 600 }, (_, q) => String(q));
    await measureLatencies(systems, questions, 0);
    const orders = questions.map((question) =>
      asked.splice(0, 3).map((turn) => {
        const [name, of] = turn.split(" ");
        assert.equal(of, question);
        return name;
      }),
    );
    const counts = new Map<string, number>();
    for (const order of orders) counts.set(order.join(""), (counts.get(order.join("")) ?? 0) + 1);
    assert.deepEqual([...counts.keys()].sort(), ["abc", "acb", "bac", "bca", "cab", "cba"]);
    for (const [order, count] of counts) assert.ok(count > 60 && count < 140, `${order} ${count}`);
  });

  it("times all rounds but the first, by the system's own clock where it has one", async () => {
    const { asked, systems } = recording(["a", "b"]);
    const measured = await measureLatencies(systems, ["1", "2", "3"], 2);
    assert.equal(asked.length, 2 * 3 * 3);
    for (const { name, times, hits } of measured) {
      assert.deepEqual(times, [2, 2, 2, 2, 2, 2]);
      assert.deepEqual(hits.get("2"), [{ id: `${name}-3`, score: 1 }]);
    }
  });

  it("counts the searches of as many clients at once as it says", async () => {
    let running = 0;
    let most = 0;
    const slow = {
      name: "slow",
      async find() {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 5));
        running -= 1;
        return { hits: [] };
      },
    };
    const [measured] = await measureThroughput([slow], ["1", "2"], {
      clients: [3],
      turns: 1,
      turnMs: 60,
    });
    assert.equal(most, 3);
    const rate = measured?.by_clients.get(3) ?? 0;
    assert.ok(rate > 0 && rate <= 3 / 0.005);
  });
});
