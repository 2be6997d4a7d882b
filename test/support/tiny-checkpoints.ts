/** The random-weight checkpoints that tests encode with, made by `training/`'s own exporter. */
import path from "node:path";
import { loadConfig } from "../../src/config/load-config.js";
import { packageRoot } from "../../src/config/package-root.js";
import type { Config, SettingName } from "../../src/config/settings.js";

/** Directory of a tiny checkpoint. */
export function tinyCheckpoint(
  variant: "bi" | "echo" | "lexical" | "prompt" | "cross-encoder",
): string {
  return path.join(packageRoot, "test", "fixtures", "checkpoints", `tiny-${variant}`);
}

/** A configuration for tests: the tiny model, one thread, nothing from this machine's environment. */
export function testConfig(flags: Partial<Record<SettingName, unknown>> = {}): Config {
  return loadConfig({
    env: {},
    flags: { "model.path": tinyCheckpoint("bi"), "model.threads": 1, ...flags },
  }).values;
}
