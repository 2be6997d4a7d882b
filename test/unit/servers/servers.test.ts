import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { zipSync } from "fflate";
import { distributionLock, opensearchVersions } from "../../../src/servers/distribution-lock.js";
import { withFolderLock } from "../../../src/servers/folder-lock.js";
import { homeAt, prepareHome } from "../../../src/servers/home.js";
import { findJdk } from "../../../src/servers/java.js";
import { runProgram } from "../../../src/servers/program.js";
import { findRedis } from "../../../src/servers/redis-server.js";
import { isRunning } from "../../../src/servers/server-process.js";
import { serverStatus, startServers } from "../../../src/servers/servers.js";
import { unpackZip } from "../../../src/servers/zip.js";

describe("embedded servers", () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "csplade-unit-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("a missing redis-server is one sentence with the command that installs it", () => {
    assert.throws(() => findRedis({ PATH: folder }), {
      code: "server_missing",
      message: "The queue needs Redis, and there is no redis-server.",
      hint: /apt-get install redis-server/,
    });
  });

  it("a heap without a unit is refused before anything is made", async () => {
    const home = path.join(folder, "home");
    await assert.rejects(startServers({ home, heap: "512" }), { code: "config_invalid" });
    await assert.rejects(readFile(home), { code: "ENOENT" });
  });

  it("every locked file has one place, and every module a descriptor's worth of facts", () => {
    for (const version of opensearchVersions) {
      const { artifacts, modules } = distributionLock(version);
      const places = artifacts.map(({ to, file }) => `${to}/${file}`);
      assert.equal(new Set(places).size, places.length);
      const inLib = new Set(artifacts.filter(({ to }) => to === "lib").map(({ file }) => file));
      const twice = artifacts.filter(({ to, file }) => to !== "lib" && inLib.has(file));
      assert.deepEqual(twice, [], "OpenSearch refuses to start when a jar is there twice");
      const folders = new Set(artifacts.map(({ to }) => to));
      for (const { name } of modules) assert.ok(folders.has(`modules/${name}`), name);
    }
  });

  it("only a full JDK within the version's releases is used", async () => {
    const make = async (name: string, release: string, full: boolean) => {
      await mkdir(path.join(folder, name, "bin"), { recursive: true });
      await writeFile(path.join(folder, name, "release"), `JAVA_VERSION="${release}"\n`);
      for (const program of full ? ["java", "javac"] : ["java"]) {
        await writeFile(path.join(folder, name, "bin", program), "");
      }
    };
    await make("jdk-17", "17.0.15", true);
    await make("jdk-21", "21.0.2", true);
    await make("jre-25", "25.0.1", false);
    const find = (min: number, max: number) =>
      findJdk({ java: { min, max } }, { env: {}, folders: [folder] })?.release;
    assert.equal(find(21, 99), 21);
    assert.equal(find(17, 20), 17);
    assert.equal(find(22, 99), undefined);
  });

  it("a zip entry that climbs out of its folder is refused", async () => {
    const evil = path.join(folder, "evil.zip");
    await writeFile(evil, zipSync({ "../outside": new Uint8Array([1]) }));
    await assert.rejects(unpackZip(evil, path.join(folder, "in")), { code: "download_failed" });
  });

  it("work under one folder's lock never overlaps, and waiting for it has a deadline", async () => {
    let inside = 0;
    const work = async () => {
      inside += 1;
      assert.equal(inside, 1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      inside -= 1;
    };
    const locked = () => withFolderLock(folder, { waitMs: 10_000 }, work);
    await Promise.all([locked(), locked(), locked()]);
    await withFolderLock(folder, { waitMs: 0 }, () =>
      assert.rejects(withFolderLock(folder, { waitMs: 0 }, work), { code: "deadline_exceeded" }),
    );
  });

  it("a program that does not end is stopped at its deadline", async () => {
    const endless = ["-e", "setInterval(() => undefined, 1000)"];
    await assert.rejects(runProgram(process.execPath, endless, { deadlineMs: 200 }), {
      code: "deadline_exceeded",
    });
  });

  it("a process that got the pid of a server since is not taken for it", async () => {
    assert.equal(await isRunning(process.pid, ["-Dcsplade.home=/elsewhere "]), false);
    assert.equal(await isRunning(process.pid, ["mocha"]), true);
  });

  it("a damaged state file means that nothing is known to run", async () => {
    await writeFile(homeAt(folder).stateFile, "{ half");
    const { redis, opensearch } = await serverStatus(folder);
    assert.deepEqual([redis.state, opensearch.state], ["stopped", "stopped"]);
  });

  it("a home that cannot be written says so and names the setting", async () => {
    const file = path.join(folder, "file");
    await writeFile(file, "");
    await assert.rejects(prepareHome(homeAt(path.join(file, "home"))), {
      code: "server_failed",
      hint: /CSPLADE_HOME/,
    });
  });

  it("a home below a folder that the servers' user may not enter says which folder", async function () {
    if (process.getuid?.() !== 0) this.skip();
    const closed = path.join(folder, "closed");
    await mkdir(closed);
    await chmod(closed, 0o700);
    await assert.rejects(prepareHome(homeAt(path.join(closed, "home"))), {
      code: "server_failed",
      message: new RegExp(`may not enter ${closed}`),
    });
  });
});
